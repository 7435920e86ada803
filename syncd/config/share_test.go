package config

import (
	"strings"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{
		"": {80, 95, 24 * time.Hour},
		"[sync.share]\nbulk = 20\nroutine = 50\nwait = \"1h\"\n": {20, 50, time.Hour},
		"[sync.share]\nbulk = 100\n":                             {100, 100, 24 * time.Hour},
	} {
		if c, err := parse(least + text); err != nil || c.Share != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, c.Share, err, want)
		}
	}
	for text, want := range map[string]string{
		"bulk = 0": "got 0, want 1 to 100", "routine = 101": "got 101, want 1 to 100", "bulk = 90\nroutine = 50": "want at most sync.share.routine, 50",
		"wait = \"0s\"": "want 1s to", "thin = 1": "sync.share.thin: unknown key",
	} {
		if _, err := parse(least + "[sync.share]\n" + text + "\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", text, err, want)
		}
	}
}
