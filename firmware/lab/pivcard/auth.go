package pivcard

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
)

// References of the secrets (SP 800-73-5 part 1, table 4a).
const (
	refPIN = 0x80
	refPUK = 0x81
)

// padded returns a PIN as it goes over the wire: eight bytes, filled with FF.
func padded(pin string) (string, bool) {
	if len(pin) < 6 || len(pin) > 8 || strings.Trim(pin, "0123456789") != "" {
		return "", false
	}
	return pin + strings.Repeat("\xff", 8-len(pin)), true
}

func unpadded(pin string) string {
	for strings.HasSuffix(pin, "\xff") {
		pin = pin[:len(pin)-1]
	}
	return pin
}

// verify is VERIFY (part 2 §3.2.1): with a PIN, without one (how many tries are
// left?), or with P1 FF (forget that the PIN was shown).
func (c *Card) verify(p1, p2 byte, data []byte) int {
	ref, blocked := byte(refPIN), swBlocked
	if c.odd.GlobalPIN {
		ref = 0
	}
	if c.odd.Gone {
		blocked = swInvalidated
	}
	switch {
	case p2 != ref:
		return swReference
	case p1 == 0xFF && c.odd.NoForget:
		return swParameters
	case p1 == 0xFF && len(data) == 0:
		c.verified = false
		return swOK
	case p1 != 0:
		return swParameters
	case len(data) == 0 && c.verified:
		return swOK
	case len(data) == 0 && c.odd.Count != 0:
		return c.odd.Count
	case len(data) == 0 && c.tries == 0:
		return blocked
	case len(data) == 0:
		return swTries | c.tries
	}
	return c.show(string(data))
}

// show compares a PIN with the card's and counts.
func (c *Card) show(pin string) int {
	want, _ := padded(c.pin)
	if c.tries == 0 && c.odd.Gone {
		return swInvalidated
	}
	if c.tries == 0 {
		return swBlocked
	}
	if _, ok := padded(unpadded(pin)); !ok || len(pin) != 8 {
		return swData // malformed: no try is spent (part 2 §3.2.1)
	}
	if pin != want {
		c.tries--
		c.verified = false
		if c.odd.Wrong != 0 {
			return c.odd.Wrong
		}
		return swTries | c.tries
	}
	c.tries, c.verified, c.fresh = maxTries, true, true
	return swOK
}

// change is CHANGE REFERENCE DATA of the PIN.
func (c *Card) change(p1, p2 byte, data []byte) int {
	if p1 != 0 || p2 != refPIN {
		return swParameters
	}
	if len(data) != 16 {
		return swData
	}
	next := unpadded(string(data[8:]))
	if _, ok := padded(next); !ok {
		return swData
	}
	if sw := c.show(string(data[:8])); sw != swOK {
		return sw
	}
	c.pin = next
	return swOK
}

// resetRetry is RESET RETRY COUNTER: the PUK sets a new PIN.
func (c *Card) resetRetry(p1, p2 byte, data []byte) int {
	if p1 != 0 || p2 != refPIN {
		return swParameters
	}
	if len(data) != 16 {
		return swData
	}
	if c.unblock == 0 {
		return swBlocked
	}
	if string(data[:8]) != c.puk {
		c.unblock--
		return swTries | c.unblock
	}
	next := unpadded(string(data[8:]))
	if _, ok := padded(next); !ok {
		return swData
	}
	c.pin, c.tries, c.unblock = next, maxTries, maxTries
	return swOK
}

// authenticate is GENERAL AUTHENTICATE (part 2 §3.2.4): a signature over a
// challenge (tag 81), or a key agreement with a point (tag 85).
func (c *Card) authenticate(alg, slot byte, data []byte, fresh bool) ([]byte, int) {
	key := c.keys[slot]
	if key == nil || algorithmOf(key) != Algorithm(alg) {
		return nil, swParameters
	}
	if slot != 0x9E && !c.verified || (slot == 0x9C || c.odd.PINAlways && slot == 0x9A) && !fresh {
		return nil, swSecurity
	}
	challenge, point, ok := template(data)
	if !ok {
		return nil, swData
	}
	var result []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if point != nil && slot == 0x9D {
			result, err = agree(k, point)
		} else if want := (k.Curve.Params().BitSize + 7) / 8; point == nil && len(challenge) == want {
			result, err = k.Sign(rand.Reader, challenge, nil)
		} else {
			return nil, swData
		}
	case *rsa.PrivateKey:
		result, err = raw(k, challenge)
	}
	if err != nil {
		return nil, swData
	}
	return tlv(0x7C, tlv(0x82, result)), swOK
}

// template reads the dynamic authentication template 7C: a request for a
// response (82, empty) and a challenge (81) or a point (85).
func template(data []byte) (challenge, point []byte, ok bool) {
	tag, inner, rest, ok := field(data)
	if !ok || tag != 0x7C || len(rest) > 0 {
		return nil, nil, false
	}
	asked := false
	for len(inner) > 0 {
		var value []byte
		if tag, value, inner, ok = field(inner); !ok {
			return nil, nil, false
		}
		switch tag {
		case 0x82:
			asked = len(value) == 0
		case 0x81:
			challenge = value
		case 0x85:
			point = value
		}
	}
	return challenge, point, asked && (challenge != nil) != (point != nil)
}

func algorithmOf(key crypto.Signer) Algorithm {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return RSA2048
	case *ecdsa.PrivateKey:
		if k.Curve.Params().BitSize == 384 {
			return P384
		}
	}
	return P256
}

// agree is the x coordinate of an ECDH agreement.
func agree(k *ecdsa.PrivateKey, point []byte) ([]byte, error) {
	own, err := k.ECDH()
	if err != nil {
		return nil, err
	}
	peer, err := own.Curve().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	return own.ECDH(peer)
}

// raw is the private RSA operation on a block the host has padded already.
func raw(k *rsa.PrivateKey, block []byte) ([]byte, error) {
	m := new(big.Int).SetBytes(block)
	if len(block) != k.Size() || m.Cmp(k.N) >= 0 {
		return nil, rsa.ErrDecryption
	}
	return m.Exp(m, k.D, k.N).FillBytes(make([]byte, k.Size())), nil
}
