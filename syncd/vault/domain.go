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
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"

	"clinicgate/syncd/vault/deed"
)

// ErrSealed is the one answer for everything that doesn't open: altered, cut
// short, of another domain, of another identity or under another key.
var ErrSealed = errors.New("vault: does not open: altered, or not sealed here for this")

// Overhead is how much longer a sealed object is than its plaintext.
const Overhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// own is the first byte of what is sealed with the box's own key; with version n of
// the third party's it is own + n, at most deed.MaxVersion.
const own = 1

// A Domain seals and opens under its keys. Safe for concurrent use, also while a new
// key comes into use.
type Domain struct {
	name string
	ring atomic.Pointer[ring]
}

// ring is the keys of a domain at one time.
type ring struct {
	err   error // why there are none
	only  bool  // for reading
	use   byte  // seals
	aeads map[byte]cipher.AEAD
	blind []byte
}

// newRing makes the keys in use from those of the contents.
func newRing(c *contents) *ring {
	r := &ring{aeads: map[byte]cipher.AEAD{}}
	if c.Own != nil {
		r.use = own
		r.add(own, *c.Own)
		r.blinding(*c.Own)
	}
	if d := c.Deed; d != nil {
		for _, k := range d.Keys {
			r.add(own+byte(k.N), k.Key)
		}
		r.use, r.only = own+byte(d.Use), d.May != deed.Write
		if c.Own == nil {
			r.blinding(d.Blind)
		}
	}
	return r
}

func (r *ring) add(number byte, key [32]byte) {
	seal, err := hkdf.Expand(sha256.New, key[:], "clinicgate seal 1", chacha20poly1305.KeySize)
	if err == nil {
		r.aeads[number], err = chacha20poly1305.NewX(seal)
	}
	r.err = errors.Join(r.err, err)
}

func (r *ring) blinding(key [32]byte) {
	var err error
	r.blind, err = hkdf.Expand(sha256.New, key[:], "clinicgate blind 1", sha256.Size)
	r.err = errors.Join(r.err, err)
}

// Err says why the domain has no keys, or nil.
func (d *Domain) Err() error { return d.ring.Load().err }

// ReadOnly reports that the third party lets this box open here, and not seal.
func (d *Domain) ReadOnly() bool { return d.ring.Load().only }

// Seal appends the sealed plaintext to dst and returns it. id is the object's
// identity, asked for again by Open; it is not stored. Seal panics in a domain
// without a key, or for reading only: callers look at Err and ReadOnly when they
// open their store.
func (d *Domain) Seal(dst, plaintext, id []byte) []byte {
	r := d.ring.Load()
	if r.err != nil {
		panic(r.err)
	}
	if r.only {
		panic(fmt.Sprintf("vault: seal in %q, which this box may read only", d.name))
	}
	dst = append(dst, r.use)
	at := len(dst)
	var nonce [chacha20poly1305.NonceSizeX]byte
	rand.Read(nonce[:]) // never fails (crypto/rand)
	dst = append(dst, nonce[:]...)
	return r.aeads[r.use].Seal(dst, dst[at:at+len(nonce)], plaintext, d.associated(r.use, id))
}

// Open appends the plaintext of sealed to dst and returns it, or ErrSealed. The
// room behind dst must not overlap sealed.
func (d *Domain) Open(dst, sealed, id []byte) ([]byte, error) {
	r := d.ring.Load()
	if r.err != nil {
		return nil, r.err
	}
	if len(sealed) < Overhead {
		return nil, ErrSealed
	}
	aead := r.aeads[sealed[0]]
	if aead == nil {
		return nil, ErrSealed
	}
	nonce, text := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	out, err := aead.Open(dst, nonce, text, d.associated(sealed[0], id))
	if err != nil {
		return nil, ErrSealed
	}
	return out, nil
}

// Blind is a keyed digest of an identity: the same in this domain every time, also
// after a new key came into use, and telling nothing to those without the key. For
// names in indexes and files.
func (d *Domain) Blind(id []byte) [sha256.Size]byte {
	r := d.ring.Load()
	if r.err != nil {
		panic(r.err)
	}
	mac := hmac.New(sha256.New, r.blind)
	mac.Write(id)
	return [sha256.Size]byte(mac.Sum(nil))
}

// associated binds the key's number, domain and identity.
func (d *Domain) associated(number byte, id []byte) []byte {
	b := make([]byte, 0, 1+4+len(d.name)+4+len(id))
	b = append(b, number)
	b = appendSized(b, []byte(d.name))
	return appendSized(b, id)
}

func appendSized(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}
