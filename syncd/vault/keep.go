package vault

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/vault/deed"
)

// keysFile is the sealed copy: everything in it opens only with the wrapping key.
// It is replaced whole, so that a stop leaves the old keys or the new ones.
const keysFile = "keys.json"

// beforeFile is a copy of it from before the registers changed.
const beforeFile = "keys.before.json"

// maxKeys bounds keys.json.
const maxKeys = 4 << 20

// kept is keys.json.
type kept struct {
	V    int    `json:"v"` // 1
	Wrap wrap   `json:"wrap"`
	Key  []byte `json:"key"`  // sealed to the wrapping key: the key of Body
	Body []byte `json:"body"` // sealed under Key: map[string]*contents
	// Spare are the box's own keys again, by domain, sealed in the domain with the
	// third party's: when the wrapping key is lost with the state it was bound to,
	// they come back with a new deed.
	Spare map[string][]byte `json:"spare,omitempty"`
}

// contents is what is known of a domain.
type contents struct {
	Own    *[32]byte  `json:"own,omitempty"`    // the box's own key; nil: shredded, or never needed
	Deed   *deed.Deed `json:"deed,omitempty"`   // nil: the third party has given none
	Denied string     `json:"denied,omitempty"` // why it takes it back
	Wipe   bool       `json:"wipe,omitempty"`   // shredded, and its stores are still there
}

// kekID is the identity of the body.
var kekID = []byte("clinicgate vault body 1")

// readKept returns what lies in dir; nil: nothing.
func readKept(dir string) (*kept, error) {
	path := filepath.Join(dir, keysFile)
	k, err := durable.ReadJSON[kept](path, maxKeys)
	if err != nil {
		return nil, fmt.Errorf("open vault: %s: %w; restore the file from the box's backup, a new one can't read what is stored", path, err)
	}
	if k == nil {
		return nil, nil
	}
	err = k.Wrap.check()
	if k.V != 1 {
		err = fmt.Errorf("got version %d, want 1", k.V)
	}
	if err != nil {
		return nil, fmt.Errorf("open vault: %s: %w; restore the file from the box's backup, a new one can't read what is stored", path, err)
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open vault: %s: got mode %v, want -rw-------", path, fi.Mode().Perm())
	}
	return k, nil
}

// unseal opens the body and returns the key it is under.
func (k *kept) unseal(w *key) (kek []byte, all map[string]*contents, err error) {
	if kek, err = w.open("body key", k.Key); err != nil {
		return nil, nil, fmt.Errorf("the wrapping key does not open the keys: %w", err)
	}
	aead, err := chacha20poly1305.NewX(kek)
	if err != nil {
		return nil, nil, err
	}
	if len(k.Body) < chacha20poly1305.NonceSizeX {
		return nil, nil, errors.New("the keys are cut short")
	}
	text, err := aead.Open(nil, k.Body[:chacha20poly1305.NonceSizeX], k.Body[chacha20poly1305.NonceSizeX:], kekID)
	if err != nil {
		return nil, nil, errors.New("the keys are damaged")
	}
	defer clear(text)
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, nil, fmt.Errorf("read the keys: %w", err)
	}
	if all == nil {
		return nil, nil, errors.New("read the keys: there are none")
	}
	for name, c := range all {
		if c == nil {
			delete(all, name)
		}
	}
	return kek, all, nil
}

// seal makes the body of all under kek.
func (k *kept) seal(kek []byte, all map[string]*contents) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	defer clear(text)
	aead, err := chacha20poly1305.NewX(kek)
	if err != nil {
		return err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(text)+chacha20poly1305.Overhead)
	rand.Read(nonce)
	k.Body = aead.Seal(nonce, nonce, text, kekID)
	return nil
}

// newKEK makes the key of a new body, sealed to point.
func newKEK(point []byte) (kek, sealed []byte, err error) {
	kek = make([]byte, chacha20poly1305.KeySize)
	rand.Read(kek)
	sealed, err = sealTo(point, "body key", kek)
	return kek, sealed, err
}
