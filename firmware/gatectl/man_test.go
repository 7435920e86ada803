package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/lab"
)

// TestDocumented: whatever people can type is in the documents, and has a page that
// the formatter has nothing to say about.
func TestDocumented(t *testing.T) {
	lab.Require(t, lab.Program("groff"))
	var docs strings.Builder
	all, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	for _, f := range all {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs.Write(text)
	}
	dir := t.TempDir()
	if code := run(context.Background(), []string{"man", dir}, strings.NewReader(""), io.Discard, os.Stderr); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	pages := 0
	err = eachCommand(newRoot(), func(c *cobra.Command) error {
		if c.RunE != nil && c.HasParent() && !strings.Contains(docs.String(), c.CommandPath()) {
			t.Errorf("%s: no document names it", c.CommandPath())
		}
		if c.Short == "" {
			t.Errorf("%s: nothing says what it does", c.CommandPath())
		}
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".8"))
		if err != nil {
			return err
		}
		pages++
		format := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
		format.Stdin = bytes.NewReader(page)
		if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", c.CommandPath(), err, out)
		}
		return nil
	})
	if err != nil || pages < 30 {
		t.Errorf("%d pages, %v", pages, err)
	}
}

// TestAllShowsWatch: each has the flag, goes on over what can't be had, and ends with
// its context.
func TestAllShowsWatch(t *testing.T) {
	for _, words := range watchable() {
		cmd, left, err := newRoot().Find(words)
		if err != nil || len(left) > 0 || cmd.Flags().Lookup("watch") == nil {
			t.Errorf("%v: %v, no --watch", words, err)
		}
	}
	n := 0
	cmd := &cobra.Command{Use: "x", RunE: func(cmd *cobra.Command, _ []string) error {
		n++
		io.WriteString(cmd.OutOrStdout(), "shown\n")
		return [...]error{nil, exit(1), os.ErrNotExist}[n%3]
	}}
	letWatch(cmd, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	cmd.SetOut(writer(func(b []byte) (int, error) {
		if out.Write(b); n >= 6 {
			cancel()
		}
		return len(b), nil
	}))
	cmd.SetArgs([]string{"--watch"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "shown") != n || n < 6 || !strings.Contains(out.String(), "gatectl: file does not exist") {
		t.Errorf("%d times:\n%s", n, &out)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
