// Package probation puts a new site file in force on trial: unless somebody confirms
// it in time, and at any restart before that, the old one returns. The file in force
// is whole at whatever point the power goes, and what was done with it is kept.
package probation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/firmware/durable"
)

// Bounds.
const (
	MaxFile    = 256 << 10 // bytes of a site file
	MaxTime    = time.Hour // on trial
	maxHistory = 100       // events that are kept
	maxKept    = 256 << 10 // bytes of a record of ours
)

// ErrNone says that no site file is on trial; ErrOther that it is another one, or
// that one is already.
var (
	ErrNone  = errors.New("no site file is on trial")
	ErrOther = errors.New("another site file is on trial")
)

// Trial is a site file that has to be confirmed.
type Trial struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	SHA256 string    `json:"sha256"` // of the file on trial
	Was    string    `json:"was"`    // of the one that returns
}

// What may have happened to a site file.
const (
	Applied   = "applied"
	Confirmed = "confirmed"
	Returned  = "returned" // the old one did
)

// Event is one thing that was done with the site file.
type Event struct {
	At     time.Time `json:"at"`
	Did    string    `json:"did"`
	By     string    `json:"by"`
	SHA256 string    `json:"sha256"` // of the file in force from then on
	Why    string    `json:"why,omitempty"`
}

// Site is the site file of a box. Safe for concurrent use.
type Site struct {
	File     string // in force
	Dir      string // of our own: the old file and the trial
	UID, GID int    // who the file in force belongs to

	mu sync.Mutex
}

func (s *Site) old() string     { return filepath.Join(s.Dir, "site-before.toml") }
func (s *Site) trial() string   { return filepath.Join(s.Dir, "site-trial.json") }
func (s *Site) history() string { return filepath.Join(s.Dir, "site-history.json") }

// Trial returns the trial that is under way, nil when there is none.
func (s *Site) Trial() (*Trial, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return durable.ReadJSON[Trial](s.trial(), maxKept)
}

// Before returns the site file that was in force before the last change.
func (s *Site) Before() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.ReadFile(s.old())
}

// History returns what was done, the latest last.
func (s *Site) History() ([]Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := durable.ReadJSON[[]Event](s.history(), maxKept)
	if err != nil || all == nil {
		return nil, err
	}
	return *all, nil
}

// Apply puts text in force on trial. In order:
//
//	keep the file in force as the old one   stop here: nothing has changed
//	write the trial                         stop here: Restart brings back what is there still
//	replace the file in force               stop here: Restart brings the old one back
func (s *Site) Apply(text []byte, by string, limit time.Duration, now time.Time) (Trial, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch under, err := durable.ReadJSON[Trial](s.trial(), maxKept); {
	case err != nil:
		return Trial{}, err
	case under != nil:
		return Trial{}, fmt.Errorf("%w, until %s", ErrOther, under.Until.UTC().Format("15:04:05 MST"))
	case len(text) == 0 || len(text) > MaxFile:
		return Trial{}, fmt.Errorf("got a site file of %d bytes, want 1 to %d", len(text), MaxFile)
	case limit <= 0 || limit > MaxTime:
		return Trial{}, fmt.Errorf("got %v to confirm it, want up to %v", limit, MaxTime)
	}
	before, err := os.ReadFile(s.File)
	if err != nil {
		return Trial{}, fmt.Errorf("keep the old site file: %w", err)
	}
	if err := durable.WriteFile(s.old(), before, 0o600); err != nil {
		return Trial{}, err
	}
	now = now.UTC().Truncate(time.Second)
	t := Trial{Since: now, Until: now.Add(limit), By: by, SHA256: digest(text), Was: digest(before)}
	if err := durable.WriteJSON(s.trial(), t, 0o600); err != nil {
		return Trial{}, err
	}
	if err := s.enforce(text); err != nil {
		return Trial{}, errors.Join(err, durable.Remove(s.trial()))
	}
	return t, s.note(Event{At: now, Did: Applied, By: by, SHA256: t.SHA256})
}

// Confirm ends the trial of the file with that digest, or of any when it is empty:
// the file stays in force. Stop here before it returns: the old one may return.
func (s *Site) Confirm(sha256, by string, now time.Time) (Trial, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := durable.ReadJSON[Trial](s.trial(), maxKept)
	switch {
	case err != nil:
		return Trial{}, err
	case t == nil:
		return Trial{}, ErrNone
	case sha256 != "" && sha256 != t.SHA256:
		return Trial{}, ErrOther
	}
	if err := s.forget(); err != nil {
		return Trial{}, err
	}
	return *t, s.note(Event{At: now, Did: Confirmed, By: by, SHA256: t.SHA256})
}

// Return ends the trial, if there is one, by bringing the old file back. In order:
//
//	replace the file in force by the old one   stop here: the next start does it again
//	remove the trial                           stop here: it is over
func (s *Site) Return(by, why string, now time.Time) (Trial, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := durable.ReadJSON[Trial](s.trial(), maxKept)
	if err == nil && t == nil {
		return Trial{}, ErrNone
	}
	if err != nil { // a record that can't be read vouches for nothing: the old file does
		t = &Trial{}
	}
	before, err := os.ReadFile(s.old())
	if err != nil {
		return Trial{}, fmt.Errorf("bring back the old site file: %w", err)
	}
	if err := s.enforce(before); err != nil {
		return Trial{}, err
	}
	if err := s.forget(); err != nil {
		return Trial{}, err
	}
	return *t, s.note(Event{At: now, Did: Returned, By: by, SHA256: digest(before), Why: why})
}

// enforce replaces the file in force: never to be seen half, nor by a daemon that
// may not read it yet.
func (s *Site) enforce(text []byte) error {
	next := s.File + ".next"
	if err := durable.WriteFile(next, text, 0o640); err != nil {
		return err
	}
	if err := os.Chown(next, s.UID, s.GID); err != nil {
		return fmt.Errorf("replace the site file: %w", err)
	}
	if err := os.Rename(next, s.File); err != nil {
		return fmt.Errorf("replace the site file: %w", err)
	}
	return durable.SyncDir(filepath.Dir(s.File))
}

// forget ends a trial for good: it must not be back after a power cut, when the
// person has been told that the file stays.
func (s *Site) forget() error {
	if err := durable.Remove(s.trial()); err != nil {
		return err
	}
	return durable.SyncDir(s.Dir)
}

// note adds to the history. One that can't be read begins anew.
func (s *Site) note(e Event) error {
	e.At = e.At.UTC().Truncate(time.Second)
	var all []Event
	if kept, err := durable.ReadJSON[[]Event](s.history(), maxKept); err == nil && kept != nil {
		all = *kept
	}
	all = append(all, e)
	return durable.WriteJSON(s.history(), all[max(0, len(all)-maxHistory):], 0o600)
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
