package probation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// box is a site file in force, "old".
func box(t *testing.T) *Site {
	t.Helper()
	dir := t.TempDir()
	s := &Site{File: filepath.Join(dir, "site.toml"), Dir: filepath.Join(dir, "init"), UID: os.Getuid(), GID: os.Getgid()}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.File, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Site) want(t *testing.T, text string, onTrial bool) {
	t.Helper()
	got, err := os.ReadFile(s.File)
	if err != nil || string(got) != text {
		t.Errorf("in force is %q, %v; want %q", got, err, text)
	}
	if under, err := s.Trial(); err != nil || (under != nil) != onTrial {
		t.Errorf("trial %+v, %v; want one: %v", under, err, onTrial)
	}
}

func TestConfirmed(t *testing.T) {
	s := box(t)
	trial, err := s.Apply([]byte("new"), "console", 5*time.Minute, noon)
	if err != nil || trial.Until.Sub(noon) != 5*time.Minute {
		t.Fatalf("%+v, %v", trial, err)
	}
	s.want(t, "new", true)
	if fi, err := os.Stat(s.File); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v: want what the daemons can read", fi.Mode(), err)
	}
	if before, err := s.Before(); err != nil || string(before) != "old" {
		t.Errorf("before: %q, %v", before, err)
	}
	if _, err := s.Apply([]byte("newer"), "console", time.Minute, noon); !errors.Is(err, ErrOther) {
		t.Errorf("a second trial: %v", err)
	}
	if _, err := s.Confirm("00", "console", noon); !errors.Is(err, ErrOther) {
		t.Errorf("another file was confirmed: %v", err)
	}
	if _, err := s.Confirm(trial.SHA256, "console", noon); err != nil {
		t.Fatal(err)
	}
	s.want(t, "new", false)
	if _, err := s.Return("init", "restart", noon); !errors.Is(err, ErrNone) {
		t.Errorf("a confirmed file went: %v", err)
	}
	if _, err := s.Confirm("", "console", noon); !errors.Is(err, ErrNone) {
		t.Errorf("confirmed twice: %v", err)
	}
	s.want(t, "new", false)
}

func TestReturned(t *testing.T) {
	s := box(t)
	if _, err := s.Apply([]byte("new"), "console", time.Minute, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Return("init", "nobody confirmed it", noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.want(t, "old", false)
	events, err := s.History()
	if err != nil || len(events) != 2 || events[0].Did != Applied || events[1].Did != Returned || events[1].Why != "nobody confirmed it" {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestRefusals(t *testing.T) {
	s := box(t)
	for name, c := range map[string]struct {
		text  string
		limit time.Duration
	}{
		"empty":    {"", time.Minute},
		"too long": {strings.Repeat("#", MaxFile+1), time.Minute},
		"no time":  {"new", 0},
		"a day":    {"new", 24 * time.Hour},
	} {
		if _, err := s.Apply([]byte(c.text), "console", c.limit, noon); err == nil {
			t.Errorf("%s: applied", name)
		}
		s.want(t, "old", false)
	}
}

// TestStops goes through every state a power cut can leave: the files as they are
// after each system call of a change, and what the next start makes of them.
func TestStops(t *testing.T) {
	type files map[string]string // by name; the trial is any text
	trial := `{"since":"2026-11-22T12:00:00Z","until":"2026-11-22T12:05:00Z","by":"console"}`
	for name, c := range map[string]struct {
		left files
		want string
	}{
		"apply: the old file is kept":          {files{"init/site-before.toml": "old"}, "old"},
		"apply: the trial is written":          {files{"init/site-before.toml": "old", "init/site-trial.json": trial}, "old"},
		"apply: the new file lies beside":      {files{"init/site-before.toml": "old", "init/site-trial.json": trial, "site.toml.next": "new"}, "old"},
		"apply: the new file is in force":      {files{"init/site-before.toml": "old", "init/site-trial.json": trial, "site.toml": "new"}, "old"},
		"confirm: the trial is gone":           {files{"init/site-before.toml": "old", "site.toml": "new"}, "new"},
		"return: the old file is back":         {files{"init/site-before.toml": "old", "init/site-trial.json": trial, "site.toml": "old"}, "old"},
		"a trial that can't be read":           {files{"init/site-before.toml": "old", "init/site-trial.json": "{", "site.toml": "new"}, "old"},
		"a stray of a write that was cut off":  {files{"init/.site-trial.json.tmp": "{", "init/site-before.toml": "old"}, "old"},
		"the old file of a change before that": {files{"init/site-before.toml": "older", "site.toml": "new"}, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			s := box(t)
			for file, text := range c.left {
				if err := os.WriteFile(filepath.Join(filepath.Dir(s.File), file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Return("init", "restart", noon); err != nil && !errors.Is(err, ErrNone) {
				t.Fatal(err)
			}
			s.want(t, c.want, false)
			if _, err := s.Apply([]byte("next"), "console", time.Minute, noon); err != nil {
				t.Errorf("nothing can be applied any more: %v", err)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := box(t)
	for i := range maxHistory + 5 {
		if err := s.note(Event{At: noon.Add(time.Duration(i) * time.Second), Did: Applied}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.History()
	if err != nil || len(events) != maxHistory || !events[0].At.Equal(noon.Add(5*time.Second)) {
		t.Errorf("%d events, %v", len(events), err)
	}
	if err := os.WriteFile(s.history(), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.note(Event{At: noon, Did: Applied}); err != nil {
		t.Errorf("a broken history stops everything: %v", err)
	}
}
