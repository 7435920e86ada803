package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrState is why a key bound to registers can't be used: they say something else
// than when it was bound.
var ErrState = errors.New("the TPM's registers are not in the state that the key is bound to")

// maxPCR is the last platform configuration register of a PC client TPM.
const maxPCR = 23

// A State is what some of the platform configuration registers say, in SHA-256.
type State struct {
	PCRs   []int    `json:"pcrs"`   // in ascending order
	Values [][]byte `json:"values"` // one each
}

// Differ returns the registers that say another thing in b.
func (a State) Differ(b State) (pcrs []int) {
	for i, n := range a.PCRs {
		j := slices.Index(b.PCRs, n)
		if j < 0 || i >= len(a.Values) || j >= len(b.Values) || !slices.Equal(a.Values[i], b.Values[j]) {
			pcrs = append(pcrs, n)
		}
	}
	return pcrs
}

// digest is the policy "these registers say this" (part 3, TPM2_PolicyPCR).
func (a State) digest() []byte {
	values := sha256.Sum256(slices.Concat(a.Values...))
	p := binary.BigEndian.AppendUint32(make([]byte, sha256.Size), ccPolicyPCR)
	p = append(append(p, selection(a.PCRs)...), values[:]...)
	sum := sha256.Sum256(p)
	return sum[:]
}

// selection is the TPML_PCR_SELECTION of registers of the SHA-256 bank.
func selection(pcrs []int) []byte {
	var bits [3]byte
	for _, n := range pcrs {
		bits[n/8] |= 1 << (n % 8)
	}
	p := binary.BigEndian.AppendUint32(nil, 1)
	p = binary.BigEndian.AppendUint16(p, algSHA256)
	return append(append(p, byte(len(bits))), bits[:]...)
}

// ReadState reads up to eight registers.
func (c *Chip) ReadState(pcrs []int) (State, error) {
	s := State{PCRs: slices.Compact(slices.Sorted(slices.Values(pcrs)))}
	if len(s.PCRs) == 0 || len(s.PCRs) > 8 || s.PCRs[0] < 0 || s.PCRs[len(s.PCRs)-1] > maxPCR {
		return State{}, fmt.Errorf("read the TPM's registers: got %v, want 1 to 8 of 0 to %d", pcrs, maxPCR)
	}
	body, err := c.command(tagNoSessions, ccPCRRead, selection(s.PCRs))
	if err != nil {
		return State{}, fmt.Errorf("read the TPM's registers: %w", err)
	}
	if s.Values, err = registers(body, s.PCRs); err != nil {
		return State{}, fmt.Errorf("read the TPM's registers: %w", err)
	}
	return s, nil
}

// registers reads TPM2_PCR_Read's answer: update counter, selection, digests.
func registers(body []byte, pcrs []int) ([][]byte, error) {
	want := selection(pcrs)
	if len(body) < 4+len(want)+4 || !slices.Equal(body[4:4+len(want)], want) {
		return nil, errors.New("it has no SHA-256 of them")
	}
	rest := body[4+len(want):]
	if n := binary.BigEndian.Uint32(rest); int64(n) != int64(len(pcrs)) {
		return nil, fmt.Errorf("got %d values, want %d", n, len(pcrs))
	}
	rest = rest[4:]
	var values [][]byte
	for range pcrs {
		v, more, ok := take(rest)
		if !ok || len(v) != sha256.Size {
			return nil, errors.New("malformed value")
		}
		values, rest = append(values, slices.Clone(v)), more
	}
	return values, nil
}

// prove starts a session in which the registers have been looked at; it is used
// once, and the caller forgets it if that does not come to pass.
func (c *Chip) prove(pcrs []int) (session uint32, err error) {
	p := binary.BigEndian.AppendUint32(nil, rhNull) // no key
	p = binary.BigEndian.AppendUint32(p, rhNull)    // bound to nothing
	p = sized(p, make([]byte, 16))                  // nonce: nothing is keyed with it
	p = append(p, 0, 0, sessionPolicy, 0, algNull, 0, algSHA256)
	body, err := c.command(tagNoSessions, ccStartAuthSession, p)
	if err != nil {
		return 0, fmt.Errorf("start a session with the TPM: %w", err)
	}
	if len(body) < 4 {
		return 0, errors.New("start a session with the TPM: its answer is too short")
	}
	session = binary.BigEndian.Uint32(body)
	p = append(binary.BigEndian.AppendUint32(nil, session), 0, 0) // whatever they say now
	if _, err = c.command(tagNoSessions, ccPolicyPCR, append(p, selection(pcrs)...)); err != nil {
		c.forget(session)
		return 0, fmt.Errorf("prove the state to the TPM: %w", err)
	}
	return session, nil
}

// forget drops a key or session. What can't be forgotten is gone at the end of the
// program.
func (c *Chip) forget(handle uint32) {
	_, _ = c.command(tagNoSessions, ccFlushContext, binary.BigEndian.AppendUint32(nil, handle))
}
