package sitecheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judge puts programs into PATH that say what they are told to.
func judge(t *testing.T, scripts map[string]string) Verdict {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	return Check(t.Context(), "site.toml", []string{"site.toml:2: twice"})
}

func TestCheck(t *testing.T) {
	v := judge(t, map[string]string{
		"netd":      `[ "$1 $2" = "-check site.toml" ] && exit 0; exit 1`,
		"failoverd": `echo "site.toml:9: bad" >&2; echo "site.toml:2: twice" >&2; exit 1`,
		"cardauth":  `exit 1`,
	})
	want := map[string]string{"netd": Accepts, "failoverd": Refuses, "cardauth": Refuses, "syncd": NotAsked}
	for name, opinion := range want {
		if v.Opinions[name] != opinion {
			t.Errorf("%s %s, want %s", name, v.Opinions[name], opinion)
		}
	}
	if v.Accepted() || v.Complete() {
		t.Errorf("accepted %v, complete %v", v.Accepted(), v.Complete())
	}
	if !slices.Equal(v.Complaints[:3], []string{"site.toml:2: twice", "site.toml:9: bad", "cardauth: refuses the file without saying why"}) ||
		!strings.HasPrefix(v.Complaints[3], "syncd: not asked") {
		t.Errorf("complaints %q", v.Complaints)
	}
}

// A program that dies of a signal, or talks without end, is not an opinion that
// counts, nor a full memory.
func TestMisbehaving(t *testing.T) {
	v := judge(t, map[string]string{
		"netd":      `kill -9 $$`,
		"failoverd": `yes 2>/dev/null | head -c 1000000; exit 1`,
		"cardauth":  `exit 0`, "syncd": `exit 0`,
	})
	if v.Opinions["netd"] != NotAsked || v.Opinions["failoverd"] != Refuses {
		t.Errorf("opinions %v", v.Opinions)
	}
	if n := len(strings.Join(v.Complaints, "")); n > 70<<10 {
		t.Errorf("%d bytes of complaints", n)
	}
}
