// Package vault seals what syncd stores, so that a stolen disk or an exchanged
// file gives nothing away. Its one guarantee: Open returns only what Seal was
// given in the same domain for the same identity, unchanged.
//
// Data is grouped in domains, each under one key
//
//	K = HMAC-SHA-256(master, "clinicgate domain key 1" ‖ len(name) ‖ name ‖ len(nonce) ‖ nonce)
//
// from which HKDF makes the keys in use. An object is XChaCha20-Poly1305 with a
// random 192-bit nonce, and the object's identity as associated data: sealed
// objects can't be swapped for one another. The lengths in the PRF's input keep
// two names and nonces from meeting in one key.
package vault

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrSealed is the one answer for everything that doesn't open: altered, cut
// short, of another domain, of another identity or under another key.
var ErrSealed = errors.New("vault: does not open: altered, or not sealed here for this")

// Overhead is how much longer a sealed object is than its plaintext.
const Overhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// format is the first byte of a sealed object.
const format = 1

// A Master holds the secret that domain keys are made from. The software master
// is a file; a TPM or the trusted third party is another implementation.
type Master interface {
	// DomainKey returns the key for these length-prefixed metadata, the same for
	// the same metadata as long as the master lives.
	DomainKey(metadata []byte) ([32]byte, error)
	// State is what people are told: "tpm", or "software: REASON".
	State() string
}

// A Vault gives out domains. Safe for concurrent use.
type Vault struct {
	master Master
	nonce  []byte
	fresh  bool
}

// Open opens the vault whose master key lies in secretsDir, and makes the key,
// durably, when there is none yet.
func Open(secretsDir string) (*Vault, error) {
	m, fresh, err := openSoftware(secretsDir)
	if err != nil {
		return nil, err
	}
	return &Vault{master: m, nonce: m.nonce[:], fresh: fresh}, nil
}

// New returns the vault of another master. The nonce is not secret; another
// nonce means other keys for the same domains.
func New(m Master, nonce []byte) *Vault { return &Vault{master: m, nonce: nonce} }

// State says where the master key lives, for status files.
func (v *Vault) State() string { return v.master.State() }

// Fresh reports that the master key was made by this Open: whatever was sealed
// before can't be read, so an owner that finds old data raises an alarm.
func (v *Vault) Fresh() bool { return v.fresh }

// Domain returns the domain of that name. If its key can't be had, sealing and
// opening fail until it can: nothing is ever kept unsealed instead.
func (v *Vault) Domain(name string) *Domain {
	meta := appendSized(nil, []byte(name))
	meta = appendSized(meta, v.nonce)
	key, err := v.master.DomainKey(meta)
	if err != nil {
		return &Domain{err: fmt.Errorf("vault: key of domain %q: %w", name, err)}
	}
	return newDomain(name, key)
}

// A Domain seals and opens under one key. Safe for concurrent use.
type Domain struct {
	name  string
	aead  cipher.AEAD
	blind []byte
	err   error // why there is no key
}

func newDomain(name string, key [32]byte) *Domain {
	d := &Domain{name: name}
	seal, err := hkdf.Expand(sha256.New, key[:], "clinicgate seal 1", chacha20poly1305.KeySize)
	if err == nil {
		d.blind, err = hkdf.Expand(sha256.New, key[:], "clinicgate blind 1", sha256.Size)
	}
	if err == nil {
		d.aead, err = chacha20poly1305.NewX(seal)
	}
	d.err = err
	return d
}

// Err says why the domain has no key, or nil.
func (d *Domain) Err() error { return d.err }

// Seal appends the sealed plaintext to dst and returns it. id is the object's
// identity, asked for again by Open; it is not stored. Seal panics in a domain
// without a key: callers look at Err when they open their store.
func (d *Domain) Seal(dst, plaintext, id []byte) []byte {
	if d.err != nil {
		panic(d.err)
	}
	dst = append(dst, format)
	at := len(dst)
	var nonce [chacha20poly1305.NonceSizeX]byte
	rand.Read(nonce[:]) // never fails (crypto/rand)
	dst = append(dst, nonce[:]...)
	return d.aead.Seal(dst, dst[at:at+len(nonce)], plaintext, d.associated(id))
}

// Open appends the plaintext of sealed to dst and returns it, or ErrSealed. The
// room behind dst must not overlap sealed.
func (d *Domain) Open(dst, sealed, id []byte) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	if len(sealed) < Overhead || sealed[0] != format {
		return nil, ErrSealed
	}
	nonce, text := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	out, err := d.aead.Open(dst, nonce, text, d.associated(id))
	if err != nil {
		return nil, ErrSealed
	}
	return out, nil
}

// Blind is a keyed digest of an identity: the same in this domain every time,
// telling nothing to those without the key. For names in indexes and files.
func (d *Domain) Blind(id []byte) [sha256.Size]byte {
	if d.err != nil {
		panic(d.err)
	}
	mac := hmac.New(sha256.New, d.blind)
	mac.Write(id)
	return [sha256.Size]byte(mac.Sum(nil))
}

// associated binds format, domain and identity.
func (d *Domain) associated(id []byte) []byte {
	b := make([]byte, 0, 1+4+len(d.name)+4+len(id))
	b = append(b, format)
	b = appendSized(b, []byte(d.name))
	return appendSized(b, id)
}

func appendSized(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}
