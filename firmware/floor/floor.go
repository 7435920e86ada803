// Package floor keeps the latest time that was surely reached, so that a clock set
// back doesn't bring back revoked cards and expired certificates. Its guarantee:
// what Raise returned for is the least that Get says after any stop; with a TPM
// also to somebody who has the disk.
//
// The TPM's own clock is the floor: it can be set forward, never back, and goes on
// by itself while there is power (TPM 2.0 part 1 §36; part 3, TPM2_ClockSet).
package floor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"clinicgate/firmware/durable"
)

// A Clock goes forward only: the TPM's is one.
type Clock interface {
	Read() (time.Time, error)
	Advance(time.Time) error
}

// A Floor is a time that does not go back. It belongs to one goroutine.
type Floor struct {
	path  string
	clock Clock // nil: only the file
	at    time.Time
}

// Open reads the floor from its file and from the clock, where there is one. An
// error comes with a Floor of what could be read.
func Open(path string, clock Clock) (*Floor, error) {
	f := &Floor{path: path, clock: clock}
	var errs []error
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &f.at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("read time floor: %w", err))
	}
	if clock != nil {
		at, err := clock.Read()
		if err != nil {
			errs = append(errs, err)
			f.clock = nil
		} else if at.After(f.at) {
			f.at = at
		}
	}
	return f, errors.Join(errs...)
}

// Get is the floor.
func (f *Floor) Get() time.Time { return f.at }

// By says what holds it: "tpm" or "file".
func (f *Floor) By() string {
	if f.clock != nil {
		return "tpm"
	}
	return "file"
}

// Raise sets the floor to t, if that is later.
//
//	stop after the file: the TPM follows with the next Raise
func (f *Floor) Raise(t time.Time) error {
	t = t.UTC().Truncate(time.Second)
	if !t.After(f.at) {
		return nil
	}
	text, err := json.Marshal(t)
	if err == nil {
		err = durable.WriteFile(f.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("raise time floor: %w", err)
	}
	f.at = t
	if f.clock != nil {
		return f.clock.Advance(t)
	}
	return nil
}
