package vault

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"clinicgate/firmware/durable"
)

// keyFile is the software master's file, one line:
//
//	clinicgate-master-1 KEY NONCE CHECK
//
// with 32 bytes each of key and nonce in hex and the first 4 bytes of a SHA-256
// over both, so that a damaged key is refused and not used.
const keyFile = "master.key"

const keyTag = "clinicgate-master-1"

// software is a master key that lies in a file: whoever has the disk has it.
type software struct {
	key, nonce [32]byte
}

// openSoftware reads the master key, or makes it at the first start.
//
//	stop before the rename in durable.WriteFile: no key, and nothing sealed yet; the next start makes another
//	stop after: the key is there
func openSoftware(dir string) (m *software, fresh bool, err error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		m, err = makeSoftware(dir, path)
		return m, true, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("open vault: %w", err)
	}
	if m, err = parseMaster(string(text)); err != nil {
		return nil, false, fmt.Errorf("open vault: %s: %w; restore the file from the box's backup, a new one can't read what is stored", path, err)
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 {
		return nil, false, fmt.Errorf("open vault: %s: got mode %v, want -rw-------", path, fi.Mode().Perm())
	}
	return m, false, nil
}

func makeSoftware(dir, path string) (*software, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	m := &software{}
	rand.Read(m.key[:])
	rand.Read(m.nonce[:])
	if err := durable.WriteFile(path, []byte(m.text()), 0o600); err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	return m, nil
}

func (m *software) text() string {
	return fmt.Sprintf("%s %x %x %x\n", keyTag, m.key, m.nonce, m.check())
}

func (m *software) check() []byte {
	sum := sha256.Sum256(append(m.key[:], m.nonce[:]...))
	return sum[:4]
}

func parseMaster(text string) (*software, error) {
	f := strings.Fields(text)
	if len(text) > 256 || len(f) != 4 || f[0] != keyTag {
		return nil, fmt.Errorf("got %d words in %d bytes, want %q, key, nonce and check", len(f), len(text), keyTag)
	}
	m := &software{}
	var check [4]byte
	for i, into := range [][]byte{m.key[:], m.nonce[:], check[:]} {
		b, err := hex.DecodeString(f[i+1])
		if err != nil || len(b) != len(into) {
			return nil, fmt.Errorf("word %d: got %d characters, want %d hex digits", i+2, len(f[i+1]), 2*len(into))
		}
		copy(into, b)
	}
	if !hmac.Equal(check[:], m.check()) {
		return nil, errors.New("the check does not match: the key is damaged")
	}
	return m, nil
}

// DomainKey is the PRF of the package comment.
func (m *software) DomainKey(metadata []byte) ([32]byte, error) {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write([]byte("clinicgate domain key 1"))
	mac.Write(metadata)
	return [32]byte(mac.Sum(nil)), nil
}

// State says that the key is no better kept than the disk.
func (m *software) State() string { return "software: the master key is a file" }
