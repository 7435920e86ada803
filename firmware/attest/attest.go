// Package attest is how a box proves to cloud ops what it runs. Its guarantee: what
// Verify passes was said by the TPM whose key it names, after the nonce was made,
// and is about the board, release, slot and registers that stand in it.
//
// The TPM signs the registers (TPM2_Quote), not what the box says of itself: that is
// bound in by its hash, and borne out by register 11, into which the firmware's stub
// measures the kernel image (systemd-stub; Kernel computes what it must say).
package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// PCRs are quoted: what the firmware ran and loaded (0, 2, 4), Secure Boot's keys (7),
// and the kernel image (11).
func PCRs() []int { return []int{0, 2, 4, 7, 11} }

// KernelPCR is where the stub measures the kernel image.
const KernelPCR = 11

// NonceSize is the length of the verifier's nonce in bytes.
const NonceSize = 16

// Evidence is what a box answers a nonce with.
type Evidence struct {
	V       int      `json:"v"` // 1
	Board   string   `json:"board"`
	Release string   `json:"release"`
	Slot    string   `json:"slot"`
	Nonce   []byte   `json:"nonce"`
	Key     []byte   `json:"key"` // the TPM's for quotes: a point of P-256, uncompressed
	PCRs    []int    `json:"pcrs"`
	Values  [][]byte `json:"values"`
	Said    []byte   `json:"said"`   // TPMS_ATTEST
	Signed  []byte   `json:"signed"` // ECDSA over its SHA-256, ASN.1
}

// About is what the quote carries: the hash of all that the TPM does not know.
func (e *Evidence) About() []byte {
	b := []byte("clinicgate attest 1")
	for _, part := range [][]byte{[]byte(e.Board), []byte(e.Release), []byte(e.Slot), e.Nonce, e.Key} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// Fingerprint names the TPM's key.
func (e *Evidence) Fingerprint() string {
	sum := sha256.Sum256(e.Key)
	return hex.EncodeToString(sum[:])
}

// Value is what a register says.
func (e *Evidence) Value(pcr int) []byte {
	if i := slices.Index(e.PCRs, pcr); i >= 0 && i < len(e.Values) {
		return e.Values[i]
	}
	return nil
}

// Verify checks the evidence for the nonce that was given. Whether the key is that
// box's is for the caller to know, by its Fingerprint.
func (e *Evidence) Verify(nonce []byte) error {
	switch {
	case e.V != 1:
		return fmt.Errorf("evidence: got version %d, want 1", e.V)
	case len(nonce) != NonceSize || !bytes.Equal(e.Nonce, nonce):
		return fmt.Errorf("evidence: got nonce %x, want %x: it is an answer to another question", e.Nonce, nonce)
	case !slices.Equal(e.PCRs, PCRs()) || len(e.Values) != len(e.PCRs):
		return fmt.Errorf("evidence: got registers %v with %d values, want %v", e.PCRs, len(e.Values), PCRs())
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), e.Key)
	if err != nil {
		return fmt.Errorf("evidence: key: %w", err)
	}
	sum := sha256.Sum256(e.Said)
	if !ecdsa.VerifyASN1(key, sum[:], e.Signed) {
		return errors.New("evidence: the signature is not this key's")
	}
	q, err := read(e.Said)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	values := sha256.Sum256(slices.Concat(e.Values...))
	switch {
	case !bytes.Equal(q.about, e.About()):
		return errors.New("evidence: the TPM signed something about another box, release, slot or nonce")
	case !bytes.Equal(q.pcrs, selected(e.PCRs)):
		return errors.New("evidence: the TPM signed other registers")
	case !bytes.Equal(q.digest, values[:]):
		return errors.New("evidence: the registers do not say what the TPM signed")
	}
	return nil
}

// quote is what matters of a TPMS_ATTEST.
type quote struct{ about, pcrs, digest []byte }

const (
	generated = 0xFF544347 // TPM_GENERATED_VALUE: no other signature of this key looks like it
	typeQuote = 0x8018
)

// read reads a TPMS_ATTEST of a quote.
func read(b []byte) (q quote, err error) {
	bad := errors.New("malformed quote")
	if len(b) < 6 || len(b) > 1024 || binary.BigEndian.Uint32(b) != generated || binary.BigEndian.Uint16(b[4:]) != typeQuote {
		return q, bad
	}
	_, b, ok := take(b[6:]) // name of the key
	if ok {
		q.about, b, ok = take(b)
	}
	const clock, banks = 17 + 8, 4 + 2 + 1 + 3 // clock and firmware version; one bank of 24 registers
	if !ok || len(b) < clock+banks {
		return q, bad
	}
	q.pcrs = b[clock : clock+banks]
	q.digest, b, ok = take(b[clock+banks:])
	if !ok || len(b) != 0 {
		return q, bad
	}
	return q, nil
}

// take splits off a TPM2B.
func take(b []byte) (body, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// selected is the TPML_PCR_SELECTION of registers of the SHA-256 bank.
func selected(pcrs []int) []byte {
	var bits [3]byte
	for _, n := range pcrs {
		bits[n/8] |= 1 << (n % 8)
	}
	return append([]byte{0, 0, 0, 1, 0, 0x0B, 3}, bits[:]...)
}
