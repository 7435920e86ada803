package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/plainhttp"
	"clinicgate/firmware/probation"
)

// siteBox is a box with a site file and nothing else.
func siteBox(t *testing.T) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{log: slog.New(slog.DiscardHandler), site: &probation.Site{File: filepath.Join(dir, "site.toml"), Dir: dir, UID: os.Getuid(), GID: os.Getgid()}}
	b.faults = newFaults(b.log)
	if err := os.WriteFile(b.site.File, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// ask is a request of the console.
func (b *box) ask(path, query, body string) (code int, said string) {
	var out bytes.Buffer
	answer := func(status int, _ string) io.Writer { code = status; return &out }
	req := plainhttp.Request{Method: "POST", Path: path, UID: uidConsole, Body: []byte(body)}
	req.Query = must(url.ParseQuery(query))
	if path == "/site" || path == "/site/before" {
		b.answerSiteState(req, answer)
	} else {
		b.answerSite(req, answer)
	}
	return code, out.String()
}

func (b *box) inForce(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.site.File)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSiteOnTrial(t *testing.T) {
	b := siteBox(t)
	if code, said := b.ask("/site/apply", "minutes=5", "new"); code != 200 || !strings.Contains(said, `"by":"console"`) {
		t.Fatalf("%d %s", code, said)
	}
	if b.inForce(t) != "new" || b.faults.none(siteFault) {
		t.Errorf("in force %q, faults %v", b.inForce(t), b.faults.list())
	}
	if code, said := b.ask("/site/apply", "minutes=5", "newer"); code != 409 || !strings.Contains(said, "another site file is on trial") {
		t.Errorf("%d %s", code, said)
	}
	// The power goes, and comes back: the old file, and it says so.
	if err := b.endSiteTrial(); err != nil || b.inForce(t) != "old" {
		t.Errorf("after a restart: %q, %v", b.inForce(t), err)
	}
	if code, said := b.ask("/site/confirm", "", ""); code != 409 || said != "no site file is on trial\n" {
		t.Errorf("%d %s", code, said)
	}
	var state struct {
		Trial   *probation.Trial
		History []probation.Event
	}
	if _, said := b.ask("/site", "", ""); json.Unmarshal([]byte(said), &state) != nil || state.Trial != nil || len(state.History) != 2 || state.History[1].By != "init" {
		t.Errorf("%s", said)
	}
}

func TestSiteIsKeptOrReturned(t *testing.T) {
	for path, want := range map[string]string{"/site/confirm": "new", "/site/return": "old"} {
		b := siteBox(t)
		if code, said := b.ask("/site/apply", "minutes=5", "new"); code != 200 {
			t.Fatalf("%d %s", code, said)
		}
		if code, said := b.ask(path, "", ""); code != 200 || b.inForce(t) != want || !b.faults.none(siteFault) {
			t.Errorf("%s: %d %s, in force %q", path, code, said, b.inForce(t))
		}
		if err := b.endSiteTrial(); err != nil || b.inForce(t) != want {
			t.Errorf("%s: a restart makes it %q, %v", path, b.inForce(t), err)
		}
		if code, said := b.ask("/site/before", "", ""); code != 200 || said != "old" {
			t.Errorf("before: %d %s", code, said)
		}
	}
}

func TestSiteRefusals(t *testing.T) {
	b := siteBox(t)
	for query, want := range map[string]int{"minutes=soon": 400, "": 400, "minutes=0": 409, "minutes=-1": 409, "minutes=9999": 409} {
		if code, said := b.ask("/site/apply", query, "new"); code != want || b.inForce(t) != "old" {
			t.Errorf("%q: %d %s", query, code, said)
		}
	}
	if code, _ := b.ask("/site/before", "", ""); code != 404 {
		t.Errorf("a file before the first: %d", code)
	}
}

// must is for queries of this file.
func must(v url.Values, err error) url.Values {
	if err != nil {
		panic(err)
	}
	return v
}
