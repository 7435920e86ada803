// Package deed is what a box and the trusted third party say to each other about
// keys. Its guarantee: a deed opens only with the key it was sealed to, as the deed
// of that box and domain.
//
// A domain's keys are K = PRF(metadata ‖ nonce) under the third party's own key, of
// which nothing else ever leaves it. A deed carries them to one box by HPKE (RFC
// 9180), sealed to a key that is in the box's TPM. The same bytes lie on the box's
// disk as its sealed copy.
package deed

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of what is said.
const (
	MaxName    = 64      // of a site's code, a domain, a box
	MaxVersion = 200     // of a domain's keys
	MaxSealed  = 1 << 15 // a deed of all versions
	PointSize  = 65      // of P-256, uncompressed
)

// Rights in a domain. A key that opens seals as well: what Read withholds is the
// vault's to hold back.
const (
	Read  = "read"
	Write = "write"
)

// A Deed is a box's right to a domain, with the keys.
type Deed struct {
	V      int       `json:"v"`      // 1
	Domain string    `json:"domain"` // SITE/NAME
	Box    string    `json:"box"`
	May    string    `json:"may"`
	At     time.Time `json:"at"`    // by the third party's clock
	Until  time.Time `json:"until"` // the box may use it without asking again
	Use    int       `json:"use"`   // version to seal with
	// Floor is the least version that anything may still be opened with; what was
	// sealed before is shredded. Zero: also with keys the box had before.
	Floor int       `json:"floor"`
	Blind [32]byte  `json:"blind"` // secret of blinded names
	Keys  []Version `json:"keys"`
}

// A Version is one key of a domain.
type Version struct {
	N   int      `json:"n"`
	Key [32]byte `json:"key"`
}

// Ask is the question for a deed.
type Ask struct {
	V      int    `json:"v"` // 1
	Domain string `json:"domain"`
	Key    []byte `json:"key"` // to seal to: a point of P-256, uncompressed
}

// Answer carries a sealed deed.
type Answer struct {
	V      int    `json:"v"` // 1
	Box    string `json:"box"`
	Sealed []byte `json:"sealed"`
}

// Refusal is the answer when there is none.
type Refusal struct {
	Type   string `json:"type"` // one of the Refused… below
	Detail string `json:"detail"`
}

// Why a deed is refused.
const (
	RefusedAccess  = "no-access" // not on the list, or taken off it
	RefusedKey     = "other-key" // not the key that the box was enrolled with
	RefusedRequest = "bad-request"
)

// Name is the full name of a site's domain.
func Name(site, domain string) string { return site + "/" + domain }

// CheckName complains about what is no full name of a domain.
func CheckName(name string) error {
	site, domain, ok := strings.Cut(name, "/")
	if !ok || !word(site) || !word(domain) {
		return fmt.Errorf("domain: got %q, want SITE/NAME, each 1 to %d printable characters", name, MaxName)
	}
	return nil
}

// word is a name without separators or what a terminal would obey.
func word(s string) bool {
	return s != "" && len(s) <= MaxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}

// CheckWord complains about what is no site's code or box's name.
func CheckWord(s string) error {
	if !word(s) {
		return fmt.Errorf("name: got %q, want 1 to %d printable characters", s, MaxName)
	}
	return nil
}

// Metadata is what the PRF is taken over: each part with its length, so that no two
// domains, uses and nonces meet in one key.
func Metadata(domain, use string, nonce []byte) []byte {
	b := []byte("clinicgate domain key 2")
	for _, part := range [][]byte{[]byte(domain), []byte(use), nonce} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return b
}

// info binds a sealed deed to its box and domain.
func info(box, domain string) []byte { return Metadata(domain, "deed for "+box, nil) }

// Seal seals the deed to a point of P-256.
func (d *Deed) Seal(point []byte) ([]byte, error) {
	key, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, fmt.Errorf("seal deed: %w", err)
	}
	to, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("seal deed: %w", err)
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("seal deed: %w", err)
	}
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), info(d.Box, d.Domain), text)
}

// Open opens a sealed deed and checks it.
func Open(key hpke.PrivateKey, box, domain string, sealed []byte) (*Deed, error) {
	if len(sealed) > MaxSealed {
		return nil, fmt.Errorf("deed of %d bytes, want at most %d", len(sealed), MaxSealed)
	}
	text, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info(box, domain), sealed)
	if err != nil {
		return nil, fmt.Errorf("open deed: %w", err)
	}
	defer clear(text)
	return parse(box, domain, text)
}

func parse(box, domain string, text []byte) (*Deed, error) {
	d := &Deed{}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("read deed: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("read deed: %w", err)
	}
	if d.Box != box || d.Domain != domain {
		return nil, fmt.Errorf("read deed: got one of %s for %s, want %s for %s", d.Domain, d.Box, domain, box)
	}
	return d, nil
}

func (d *Deed) check() error {
	switch {
	case d.V != 1:
		return fmt.Errorf("got version %d, want 1", d.V)
	case d.May != Read && d.May != Write:
		return fmt.Errorf("got right %q, want %q or %q", d.May, Read, Write)
	case d.At.IsZero() || d.Until.Before(d.At):
		return fmt.Errorf("got good until %v, want after %v", d.Until, d.At)
	case d.Floor < 0 || d.Floor > d.Use:
		return fmt.Errorf("got floor %d, want 0 to %d", d.Floor, d.Use)
	}
	last := 0
	for _, k := range d.Keys {
		if k.N <= last || k.N > MaxVersion || k.N < d.Floor {
			return fmt.Errorf("got key %d after %d, want in order, from %d to %d", k.N, last, max(1, d.Floor), MaxVersion)
		}
		last = k.N
	}
	if !slices.ContainsFunc(d.Keys, func(k Version) bool { return k.N == d.Use }) {
		return errors.New("the key in use is missing")
	}
	return CheckName(d.Domain)
}
