package vault

import (
	"crypto/hmac"
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

// legacyFile is where the first releases kept a master key, in the clear, that all
// domains' keys were made from; one line:
//
//	clinicgate-master-1 KEY NONCE CHECK
//
// with 32 bytes each of key and nonce in hex and the first 4 bytes of a SHA-256
// over both. What is found here is taken into keys.json, and removed.
const legacyFile = "master.key"

const legacyTag = "clinicgate-master-1"

// legacy is such a master key.
type legacy struct {
	key, nonce [32]byte
}

// readLegacy returns the master key of an earlier release; nil: there is none.
func readLegacy(dir string) (*legacy, error) {
	path := filepath.Join(dir, legacyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	m, err := parseLegacy(string(text))
	if err != nil {
		return nil, fmt.Errorf("open vault: %s: %w; restore the file from the box's backup, a new one can't read what is stored", path, err)
	}
	return m, nil
}

// shredLegacy removes the file once its keys are in keys.json. On flash the bytes
// written over it may leave the old ones where only a laboratory finds them.
func shredLegacy(dir string) error {
	path := filepath.Join(dir, legacyFile)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the earlier master key: %w", err)
	}
	_, err = f.Write(make([]byte, 256))
	err = errors.Join(err, f.Sync(), f.Close(), durable.Remove(path))
	if err != nil {
		return fmt.Errorf("remove the earlier master key: %w", err)
	}
	return durable.SyncDir(dir)
}

func (m *legacy) text() string {
	return fmt.Sprintf("%s %x %x %x\n", legacyTag, m.key, m.nonce, m.check())
}

func (m *legacy) check() []byte {
	sum := sha256.Sum256(append(m.key[:], m.nonce[:]...))
	return sum[:4]
}

func parseLegacy(text string) (*legacy, error) {
	f := strings.Fields(text)
	if len(text) > 256 || len(f) != 4 || f[0] != legacyTag {
		return nil, fmt.Errorf("got %d words in %d bytes, want %q, key, nonce and check", len(f), len(text), legacyTag)
	}
	m := &legacy{}
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

// domainKey is the key that domain had:
//
//	HMAC-SHA-256(master, "clinicgate domain key 1" ‖ len(name) ‖ name ‖ len(nonce) ‖ nonce)
func (m *legacy) domainKey(name string) [32]byte {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write([]byte("clinicgate domain key 1"))
	mac.Write(appendSized(appendSized(nil, []byte(name)), m.nonce[:]))
	return [32]byte(mac.Sum(nil))
}
