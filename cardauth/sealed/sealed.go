// Package sealed opens PINs that a workstation sealed for this program: what lies in
// the buffers that a request passed through is then of no use to anybody. HPKE (RFC
// 9180) with a key that is in memory only and replaced every hour.
package sealed

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Suite is the one in use, as RFC 9180 §7 names its parts.
const Suite = "DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM"

// Life is how long a key is given out; it opens for as long again.
const Life = time.Hour

// maxBox bounds a sealed PIN: a point of 65 bytes, eight digits and a tag of 16.
const maxBox = 65 + 8 + 16

// What callers branch on.
var (
	ErrKey = errors.New("sealed with a key that is not in use any more")
	ErrBox = errors.New("not a PIN sealed for this program by this workstation")
)

// Keys are the keys in use. The zero value is ready. Safe for concurrent use.
type Keys struct {
	mu        sync.Mutex
	now, last *key
}

type key struct {
	id      string
	private hpke.PrivateKey
	made    time.Time
}

// A Public is what to seal with.
type Public struct {
	ID    string
	Key   []byte        // uncompressed point (SEC 1)
	Lasts time.Duration // until another should be asked for
}

// Info is the HPKE info of a PIN: it binds the box to the workstation, by the hash of
// its certificate as tokens have it.
func Info(certHash string) []byte { return []byte("clinicgate pin v1\n" + certHash) }

// Public returns the key to seal with now.
func (k *Keys) Public(now time.Time) (Public, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == nil || now.Sub(k.now.made) >= Life || now.Before(k.now.made) {
		private, err := hpke.DHKEM(ecdh.P256()).GenerateKey()
		if err != nil {
			return Public{}, fmt.Errorf("make a key for PINs: %w", err)
		}
		k.now, k.last = &key{rand.Text(), private, now}, k.now
	}
	return Public{k.now.id, k.now.private.PublicKey().Bytes(), Life - now.Sub(k.now.made)}, nil
}

// Open returns the PIN, which the caller wipes.
func (k *Keys) Open(id string, box, info []byte, now time.Time) ([]byte, error) {
	private := k.named(id, now)
	if private == nil {
		return nil, ErrKey
	}
	if len(box) > maxBox {
		return nil, fmt.Errorf("%w: got %d bytes, want at most %d", ErrBox, len(box), maxBox)
	}
	pin, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, box)
	if err != nil {
		clear(pin)
		return nil, ErrBox
	}
	return pin, nil
}

func (k *Keys) named(id string, now time.Time) hpke.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range []*key{k.now, k.last} {
		if x != nil && x.id == id && now.Sub(x.made) < 2*Life {
			return x.private
		}
	}
	return nil
}
