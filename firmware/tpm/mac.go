package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A MAC is an HMAC-SHA-256 key of the TPM's owner hierarchy, derived in it from its
// own seed and the salt each time, as a Key is. Safe for concurrent use.
type MAC struct {
	chip     *Chip
	handle   uint32
	password []byte
}

const (
	algHMAC      = 0x0005
	algKeyedHash = 0x0008
)

// macMax is how much a TPM takes in one piece (part 2, MAX_DIGEST_BUFFER).
const macMax = 1024

// NewMAC has the TPM make the key of that salt.
func NewMAC(chip *Chip, salt []byte) (*MAC, error) {
	if len(salt) != SaltSize {
		return nil, fmt.Errorf("HMAC key in the TPM: got a salt of %d bytes, want %d", len(salt), SaltSize)
	}
	password := spread("clinicgate mac password", salt)
	t := []byte{0, algKeyedHash, 0, algSHA256}
	t = binary.BigEndian.AppendUint32(t, signing)
	t = append(t, 0, 0, 0, algHMAC, 0, algSHA256) // no policy; the scheme
	handle, _, err := chip.primary(password, sized(t, spread("clinicgate mac", salt)))
	if err != nil {
		return nil, fmt.Errorf("HMAC key in the TPM: %w", err)
	}
	return &MAC{chip, handle, password}, nil
}

// Sum is the HMAC-SHA-256 of at most 1024 bytes.
func (m *MAC) Sum(text []byte) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if len(text) > macMax {
		return sum, fmt.Errorf("HMAC by the TPM: got %d bytes, want at most %d", len(text), macMax)
	}
	p := sized(authorized(m.handle, m.password), text)
	body, err := m.chip.command(tagSessions, ccHMAC, append(p, 0, algSHA256))
	if err != nil {
		return sum, fmt.Errorf("HMAC by the TPM: %w", err)
	}
	if len(body) < 4 {
		return sum, errors.New("HMAC by the TPM: its answer is too short")
	}
	got, _, ok := take(body[4:])
	if !ok || copy(sum[:], got) != len(sum) || len(got) != len(sum) {
		return sum, errors.New("HMAC by the TPM: malformed digest")
	}
	return sum, nil
}

// Close has the TPM forget the key until it is made again.
func (m *MAC) Close() { m.chip.forget(m.handle) }
