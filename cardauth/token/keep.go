package token

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/durable"
)

// RotateAfter is how old a key may be.
const RotateAfter = 30 * 24 * time.Hour

// A chipKey is the file of a key in the TPM: what it is derived from.
type chipKey struct {
	Salt []byte    `json:"salt"`
	Made time.Time `json:"made"`
}

// OpenChipKey returns the key that derive makes from the salt kept at path, and a
// new salt where there is none or fresh is asked for. It also returns since when
// that key is in use.
//
//	stop before the rename: the old key stands, or none
//	stop after: the new one; tokens of the old died with their sessions
func OpenChipKey(path string, fresh bool, now time.Time, derive func(salt []byte) (crypto.Signer, error)) (crypto.Signer, time.Time, error) {
	var kept chipKey
	data, err := os.ReadFile(path)
	if err == nil {
		if json.Unmarshal(data, &kept) != nil || len(kept.Salt) != saltSize {
			err = fs.ErrNotExist // a damaged salt is worth nothing, and any other is as good
		}
	}
	switch {
	case err == nil && !fresh:
		key, err := derive(kept.Salt)
		return key, kept.Made, err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, time.Time{}, fmt.Errorf("read token key: %w", err)
	}
	kept = chipKey{Salt: newSalt(), Made: now.UTC().Truncate(time.Second)}
	key, err := derive(kept.Salt)
	if err != nil {
		return nil, time.Time{}, err
	}
	if data, err = json.Marshal(kept); err == nil {
		err = durable.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("make token key: %w", err)
	}
	return key, kept.Made, nil
}

const saltSize = 32

func newSalt() []byte {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return salt
}

// RenewKey makes a new software key in place of the one at path.
func RenewKey(path string) (crypto.Signer, error) { return makeKey(path) }
