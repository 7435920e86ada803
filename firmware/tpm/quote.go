package tpm

import (
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
)

// A Witness is the TPM's key for quotes: restricted, it signs nothing but what the
// TPM itself says, and it is the same as long as the TPM is not cleared. Safe for
// concurrent use.
type Witness struct {
	chip   *Chip
	handle uint32
	public *ecdsa.PublicKey
}

const (
	ccQuote    = 0x0158
	restricted = 1 << 16
)

// NewWitness has the TPM make its key for quotes.
func NewWitness(chip *Chip) (*Witness, error) {
	t := []byte{algECC >> 8, algECC & 0xFF, 0, algSHA256}
	t = binary.BigEndian.AppendUint32(t, signing|restricted)
	t = append(t, 0, 0, 0, algNull, 0, algECDSA, 0, algSHA256, 0, curveP256, 0, algNull) // no policy
	t = append(sized(t, spread("clinicgate witness", nil)), 0, 0)
	handle, body, err := chip.primary(nil, t)
	if err != nil {
		return nil, fmt.Errorf("witness in the TPM: %w", err)
	}
	w := &Witness{chip: chip, handle: handle}
	if w.public, err = publicKey(body); err != nil {
		w.Close()
		return nil, fmt.Errorf("witness in the TPM: %w", err)
	}
	return w, nil
}

// Public returns the public key.
func (w *Witness) Public() *ecdsa.PublicKey { return w.public }

// Quote has the TPM say what its registers are (TPMS_ATTEST, part 2 §10.12.12), with
// up to 32 bytes of the caller's in it, and sign that.
func (w *Witness) Quote(about []byte, pcrs []int) (said, signed []byte, err error) {
	p := sized(authorized(w.handle, nil), about)
	p = append(p, 0, algNull) // the key's own scheme
	body, err := w.chip.command(tagSessions, ccQuote, append(p, selection(pcrs)...))
	if err != nil {
		return nil, nil, fmt.Errorf("quote by the TPM: %w", err)
	}
	if len(body) < 4 {
		return nil, nil, errors.New("quote by the TPM: its answer is too short")
	}
	said, rest, ok := take(body[4:])
	if !ok {
		return nil, nil, errors.New("quote by the TPM: malformed")
	}
	signed, err = signature(append(make([]byte, 4), rest...))
	if err != nil {
		return nil, nil, fmt.Errorf("quote by the TPM: %w", err)
	}
	return said, signed, nil
}

// Close has the TPM forget the key until it is made again.
func (w *Witness) Close() { w.chip.forget(w.handle) }
