// Package secret keeps the trusted third party's own key. Its guarantee: the same
// key as long as its folder, and the TPM that it may be in, last; and a damaged one
// is refused, not replaced.
package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/tpm"
)

// A Secret computes with the key. Safe for concurrent use.
type Secret struct {
	sum   func([]byte) ([32]byte, error)
	state string
}

// Sum is HMAC-SHA-256 under the key, of at most 1024 bytes.
func (s *Secret) Sum(text []byte) ([32]byte, error) { return s.sum(text) }

// State says where the key is, for people.
func (s *Secret) State() string { return s.state }

// Files in the folder: the key itself, or the salt from which the TPM derives it.
// Neither is of use where the other one is meant.
const (
	keyFile  = "secret.key"
	saltFile = "secret.salt"
)

// Open opens the key in dir, or makes it when there is none yet. With a device it is
// the TPM's: a copy of the folder is then of no use elsewhere, and the TPM's end is
// the end of every key made from it.
func Open(dir, device string) (*Secret, error) {
	name, other := keyFile, saltFile
	if device != "" {
		name, other = saltFile, keyFile
	}
	if _, err := os.Stat(filepath.Join(dir, other)); err == nil {
		return nil, fmt.Errorf("open secret: %s is there: the key is kept the other way; say -tpm, or don't, as before", filepath.Join(dir, other))
	}
	bytes, err := open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	if device == "" {
		return &Secret{sum: func(text []byte) ([32]byte, error) {
			mac := hmac.New(sha256.New, bytes)
			mac.Write(text)
			return [32]byte(mac.Sum(nil)), nil
		}, state: "software: a file"}, nil
	}
	f, err := tpm.Open(device)
	if err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	s, err := inTPM(f, bytes)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open secret: %w", err)
	}
	return s, nil
}

// inTPM is the TPM's key of that salt.
func inTPM(device io.ReadWriter, salt []byte) (*Secret, error) {
	m, err := tpm.NewMAC(tpm.NewChip(device), salt)
	if err != nil {
		return nil, err
	}
	return &Secret{sum: m.Sum, state: "tpm"}, nil
}

// tag begins the file; 32 bytes in hex and the first 4 of their SHA-256 follow.
const tag = "clinicgate-trustee-1"

// open reads 32 bytes, or makes them.
//
//	stop before the rename in durable.WriteFile: none, and no deed was given; the next start makes others
func open(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		return key, durable.WriteFile(path, []byte(format(key)), 0o600)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: got mode %v, want -rw-------", path, fi.Mode().Perm())
	}
	key, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from its backup: another one makes other keys", path, err)
	}
	return key, nil
}

func format(key []byte) string {
	sum := sha256.Sum256(key)
	return fmt.Sprintf("%s %x %x\n", tag, key, sum[:4])
}

func parse(text string) ([]byte, error) {
	f := strings.Fields(text)
	if len(text) > 200 || len(f) != 3 || f[0] != tag {
		return nil, fmt.Errorf("got %d words in %d bytes, want %q, key and check", len(f), len(text), tag)
	}
	key, err := hex.DecodeString(f[1])
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("got a key of %d characters, want 64 hex digits", len(f[1]))
	}
	if format(key) != text {
		return nil, errors.New("the check does not match: the key is damaged")
	}
	return key, nil
}
