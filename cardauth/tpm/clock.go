package floor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A TPM is the clock of a TPM 2.0: milliseconds, which Advance moves to those
// since 1970. It belongs to one goroutine.
type TPM struct {
	// Device carries one command and brings back one response, as
	// /dev/tpmrm0 does.
	Device io.ReadWriter
}

// Codes of the specification, parts 2 and 3.
const (
	tagNoSessions = 0x8001
	tagSessions   = 0x8002
	ccReadClock   = 0x0181
	ccClockSet    = 0x0128
	rhOwner       = 0x40000001
	rsPassword    = 0x40000009
	maxResponse   = 4096
)

// unset is the least a clock set by us says: a TPM's own begins at zero.
var unset = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Read returns the TPM's clock, zero if nobody has set it.
func (t *TPM) Read() (time.Time, error) {
	body, err := t.command(tagNoSessions, ccReadClock, nil)
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
func (t *TPM) Advance(to time.Time) error {
	now, err := t.Read()
	if err != nil || !to.After(now) {
		return err
	}
	p := binary.BigEndian.AppendUint32(nil, rhOwner)
	p = binary.BigEndian.AppendUint32(p, 9) // size of the authorization
	p = binary.BigEndian.AppendUint32(p, rsPassword)
	p = append(p, 0, 0, 0, 0, 0) // no nonce, no attributes, empty password
	p = binary.BigEndian.AppendUint64(p, uint64(to.UnixMilli()))
	if _, err := t.command(tagSessions, ccClockSet, p); err != nil {
		return fmt.Errorf("set TPM clock: %w", err)
	}
	return nil
}

// command sends one command and returns the response behind its header.
func (t *TPM) command(tag uint16, code uint32, params []byte) ([]byte, error) {
	cmd := binary.BigEndian.AppendUint16(nil, tag)
	cmd = binary.BigEndian.AppendUint32(cmd, uint32(10+len(params)))
	cmd = binary.BigEndian.AppendUint32(cmd, code)
	if _, err := t.Device.Write(append(cmd, params...)); err != nil {
		return nil, err
	}
	resp := make([]byte, maxResponse)
	n, err := t.Device.Read(resp)
	if err != nil {
		return nil, err
	}
	if n < 10 {
		return nil, errors.New("response is too short")
	}
	if rc := binary.BigEndian.Uint32(resp[6:]); rc != 0 {
		return nil, fmt.Errorf("TPM says %#x", rc)
	}
	return resp[10:n], nil
}
