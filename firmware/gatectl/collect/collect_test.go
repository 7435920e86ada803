package collect

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/status"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPresence(t *testing.T) {
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "netd.json"), fmt.Sprintf(`{"v":1,"pid":%d}`, os.Getpid()))
	put(t, filepath.Join(dir, "failoverd.json"), fmt.Sprintf(`{"v":1,"pid":%d}`, ended.Process.Pid))
	put(t, filepath.Join(dir, "cardauth.json"), `{"v":1,"pid":0}`)
	put(t, filepath.Join(dir, "syncd.json"), `{"v":1,`)
	box := Source{Run: dir, Site: filepath.Join(dir, "site.toml")}.Look(time.Now()).Box
	for _, c := range []struct {
		name     string
		presence status.Presence
		want     status.Presence
		why      string
		whyWant  string
	}{
		{"init", box.Init.Presence, status.Missing, box.Init.Why, ""},
		{"netd", box.Net.Presence, status.Dead, box.Net.Why, fmt.Sprintf("is %q now", strings.TrimSpace(string(self)))}, // the number is ours
		{"failoverd", box.Pair.Presence, status.Dead, box.Pair.Why, "is gone"},
		{"cardauth", box.Card.Presence, status.Dead, box.Card.Why, "process 0 is gone"},
		{"syncd", box.Sync.Presence, status.Unreadable, box.Sync.Why, "syncd.json"},
	} {
		if c.presence != c.want || !strings.Contains(c.why, c.whyWant) {
			t.Errorf("%s: %s (%s), want %s (%s)", c.name, c.presence, c.why, c.want, c.whyWant)
		}
	}
	if !strings.Contains(box.SiteErr, "site.toml: open") {
		t.Errorf("site: %q", box.SiteErr)
	}
}

func TestLive(t *testing.T) {
	if why := gone(os.Getpid(), strings.TrimSuffix(filepath.Base(os.Args[0]), "")); why != "" {
		t.Errorf("this test is not alive: %s", why)
	}
}

// The object keeps fields that this release does not know: a newer daemon's file
// goes through whole.
func TestObjectKeepsUnknownFields(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "netd.json"), `{"v":2,"pid":1,"later":{"a":[1,2]}}`)
	put(t, filepath.Join(dir, "site.toml"), "[site]\nname = \"Lab\"\ncode = \"lab\"\n")
	o := Source{Run: dir, Site: filepath.Join(dir, "site.toml")}.Look(time.Now()).Object()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"later":{"a":[1,2]}`, `"verdict":"failed"`, `"syncd":{"presence":"missing"}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, why string }{
		"good":       {"[site]\nname = \"Lab\"\ncode = \"lab\"\n", ""},
		"no name":    {"[site]\ncode = \"lab\"\n", "site.toml:1: site.name"},
		"not TOML":   {"[site\n", "site.toml:1"},
		"no section": {"", "section [site] is missing"},
		"too large":  {strings.Repeat("#", 300<<10), "want at most"},
	} {
		path := filepath.Join(dir, "site.toml")
		put(t, path, c.text)
		id, why := Identity(path)
		if !strings.Contains(why, c.why) || (why == "") != (c.why == "") || (id.Name == "Lab") != (c.why == "") {
			t.Errorf("%s: %+v, %q, want %q", name, id, why, c.why)
		}
	}
}
