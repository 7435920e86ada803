package tpm

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// A Clock is the clock of a TPM: milliseconds, which Advance moves to those since
// 1970. It can be set forward, never back (part 3, TPM2_ClockSet). It belongs to
// one goroutine.
type Clock struct{ Device io.ReadWriter }

// unset is the least a clock set by us says: a TPM's own begins at zero.
var unset = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Read returns the TPM's clock, zero if nobody has set it.
func (t *Clock) Read() (time.Time, error) {
	body, err := command(t.Device, tagNoSessions, ccReadClock, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("read TPM clock: %w", err)
	}
	if len(body) < 16 { // TPMS_TIME_INFO: time, clock, ...
		return time.Time{}, fmt.Errorf("read TPM clock: got %d bytes, want 16", len(body))
	}
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(body[8:]) & (1<<62 - 1)))
	if at.Before(unset) {
		return time.Time{}, nil
	}
	return at.UTC(), nil
}

// Advance sets the clock forward; it never goes back.
func (t *Clock) Advance(to time.Time) error {
	now, err := t.Read()
	if err != nil || !to.After(now) {
		return err
	}
	p := authorized(rhOwner, nil)
	p = binary.BigEndian.AppendUint64(p, uint64(to.UnixMilli()))
	if _, err := command(t.Device, tagSessions, ccClockSet, p); err != nil {
		return fmt.Errorf("set TPM clock: %w", err)
	}
	return nil
}
