package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/gatectl/collect"
)

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"help":          {[]string{"--help"}, 0},
		"failed box":    {[]string{"status", "--run", t.TempDir()}, 2},
		"doctor":        {[]string{"doctor", "--run", t.TempDir()}, 2},
		"no init":       {[]string{"log", "--run", t.TempDir()}, 2},
		"unasked":       {[]string{"site", "check", "none.toml"}, 1},
		"refused by us": {[]string{"poweroff", "--run", t.TempDir()}, 1},
		"bad flag":      {[]string{"status", "--nope"}, 64},
		"stray":         {[]string{"status", "stray"}, 64},
		"bad command":   {[]string{"sttaus"}, 64},
		"bad number":    {[]string{"log", "-n", "many"}, 64},
	} {
		if got := run(context.Background(), c.args, strings.NewReader(""), io.Discard, io.Discard); got != c.want {
			t.Errorf("%s: exit code %d, want %d", name, got, c.want)
		}
	}
}

// --watch goes on until its context ends and asks a plain file for nothing a
// terminal would understand.
func TestWatch(t *testing.T) {
	o := &options{source: collect.Source{Run: t.TempDir(), Site: "none.toml"}}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	var out bytes.Buffer
	err := repeat(ctx, &out, time.Millisecond, func(w io.Writer) (collect.Look, error) {
		if n++; n == 3 {
			cancel()
		}
		return showStatus(o, w)
	})
	if err != nil || n < 3 || strings.Count(out.String(), " STATUS ") != n {
		t.Errorf("%d screens of %d, %v", strings.Count(out.String(), " STATUS "), n, err)
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Error("an escape sequence went into a file")
	}
}
