// Package pivcard is a virtual PIV card and the ways to plug it into a reader:
// vpcd of the vsmartcard project for pcscd on this machine, and QEMU's
// ccid-card-passthru for pcscd in a guest. It behaves as NIST SP 800-73-5 and
// ISO/IEC 7816-4 say a card does, and shares no code with cardauth, so that
// neither can copy the other's mistakes. OpenSC's tools are the check on it.
package pivcard

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Algorithm is a key type, by its identifier in SP 800-78-5 table 9.
type Algorithm byte

// The algorithms a slot's key can have.
const (
	RSA2048 Algorithm = 0x07
	P256    Algorithm = 0x11
	P384    Algorithm = 0x14
)

// maxTries is what the PIN counter starts with and returns to.
const maxTries = 3

// A Card is one smartcard: what is stored in it and, while it has power, its
// state. It may be moved from slot to slot, as a card is. Safe for concurrent use.
type Card struct {
	guid [16]byte
	atr  []byte

	other Application // not nil: it answers, and the rest is not used
	odd   Oddities

	mu      sync.Mutex
	pin     string
	puk     string
	tries   int // left for the PIN
	unblock int // tries left for the PUK
	keys    map[byte]crypto.Signer
	objects map[uint32][]byte // data object tag → its content, with the 53 wrapper
	pace    Pace
	power   // lost on reset
}

// power is what a card forgets without power.
type power struct {
	selected bool
	verified bool   // the PIN was shown since power on
	fresh    bool   // ... and no other command has come since: what slot 9C wants
	chain    []byte // data of the commands chained so far
	chainHdr [4]byte
	rest     []byte // response bytes waiting for GET RESPONSE
}

// An Application is what a card that is no PIV card answers with.
type Application interface {
	Transmit(apdu []byte) []byte
	Reset()
}

// With makes a card of another application, to be put into the same slots.
func With(a Application) *Card { return &Card{other: a, atr: answerToReset()} }

// An Option changes a card before it is first used.
type Option func(*Card) error

// WithKey gives a slot another algorithm than P-256.
func WithKey(slot byte, alg Algorithm) Option {
	return func(c *Card) (err error) {
		c.keys[slot], err = generate(alg)
		return err
	}
}

// WithKeyOf gives a slot the key that another card has there: a copy, or a maker
// whose random numbers repeat.
func WithKeyOf(slot byte, other *Card) Option {
	return func(c *Card) error {
		other.mu.Lock()
		defer other.mu.Unlock()
		c.keys[slot] = other.keys[slot]
		return nil
	}
}

// WithTries sets how many wrong PINs the card takes from now.
func WithTries(n int) Option {
	return func(c *Card) error { c.tries = n; return nil }
}

// A Pace is how long a card takes. The zero one is as quick as this machine.
type Pace struct {
	Command time.Duration // each command: the reader, the line's turn-around, the card
	Byte    time.Duration // each byte there and back, on the line between reader and card
	PIN     time.Duration // more for VERIFY with a PIN, which writes its counter first
	Key     time.Duration // more for GENERAL AUTHENTICATE
}

// RealPace returns about that of a contact card in a USB reader. It is a model, not a
// measurement: T=1 at 115 kbit/s is 0.09 ms a byte; a signature with P-256 on
// cards that are sold takes from a tenth to a half of a second.
func RealPace() Pace {
	return Pace{Command: 8 * time.Millisecond, Byte: 90 * time.Microsecond, PIN: 30 * time.Millisecond, Key: 150 * time.Millisecond}
}

// WithPace makes a card slower.
func WithPace(p Pace) Option {
	return func(c *Card) error { c.pace = p; return nil }
}

// took is how long the card takes over a command.
func (p Pace) took(cmd, resp []byte) time.Duration {
	if p == (Pace{}) || len(cmd) < 4 {
		return 0
	}
	d := p.Command + p.Byte*time.Duration(len(cmd)+len(resp))
	switch {
	case cmd[1] == 0x20 && len(cmd) > 5:
		d += p.PIN
	case cmd[1] == 0x87 && cmd[0]&claChain == 0:
		d += p.Key
	}
	return d
}

// New makes a card with this PIN (6 to 8 digits), a P-256 key in each of the
// slots 9A, 9C, 9D and 9E, and no certificates yet.
func New(pin string, options ...Option) (*Card, error) {
	if _, ok := padded(pin); !ok {
		return nil, errors.New("new card: got a PIN that is not 6 to 8 digits")
	}
	c := &Card{
		pin: pin, puk: "12345678", tries: maxTries, unblock: maxTries, atr: answerToReset(),
		keys: map[byte]crypto.Signer{}, objects: map[uint32][]byte{},
	}
	rand.Read(c.guid[:])
	for _, slot := range []byte{0x9A, 0x9C, 0x9D, 0x9E} {
		key, err := generate(P256)
		if err != nil {
			return nil, err
		}
		c.keys[slot] = key
	}
	for _, o := range options {
		if err := o(c); err != nil {
			return nil, fmt.Errorf("new card: %w", err)
		}
	}
	c.store()
	return c, nil
}

func generate(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fmt.Errorf("got algorithm %#x, want 07, 11 or 14", byte(alg))
}

// GUID is the card's own number, as in its CHUID.
func (c *Card) GUID() [16]byte { return c.guid }

// Public returns the public half of a slot's key, nil where there is none.
func (c *Card) Public(slot byte) crypto.PublicKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := c.keys[slot]; key != nil {
		return key.Public()
	}
	return nil
}

// PutCertificate stores a DER certificate in a slot. The card doesn't look at
// it: a certificate of another card's key makes a clone.
func (c *Card) PutCertificate(slot byte, der []byte) error {
	tag, ok := certificateTag[slot]
	if !ok {
		return fmt.Errorf("put certificate: got slot %#x, want 9a, 9c, 9d or 9e", slot)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.odd.PackedMute {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(der); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		der = packed.Bytes()
	}
	content := append(tlv(0x70, der), tlv(0x71, []byte{0})...)
	c.objects[tag] = tlv(0x53, append(content, tlv(0xFE, nil)...))
	return nil
}

// PutObject stores any bytes under a data object's tag, such as 0x5FC105: for
// tests of what a reader of cards makes of nonsense.
func (c *Card) PutObject(tag uint32, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[tag] = raw
}

// Tries returns how many wrong PINs the card still takes.
func (c *Card) Tries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

// ATR returns the answer to reset.
func (c *Card) ATR() []byte { return c.atr }

// Reset takes the card's power away and gives it back: the PIN must be shown
// again and nothing is selected.
func (c *Card) Reset() {
	if c.other != nil {
		c.other.Reset()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.power = power{}
}

// answerToReset builds the ATR (ISO/IEC 7816-3): direct convention, T=0 and T=1
// offered, and historical bytes in compact TLV: card capabilities 73 (chaining,
// extended length) and card issuer's data 54. OpenSC takes a card without
// historical bytes for an old one that knows no elliptic curves.
func answerToReset() []byte {
	hist := []byte{0x80, 0x73, 0xC0, 0x21, 0xC0, 0x54, 'L', 'P', 'I', 'V'}
	atr := append([]byte{0x3B, 0x80 | byte(len(hist)), 0x80, 0x01}, hist...)
	var check byte // TCK: all bytes after TS
	for _, b := range atr[1:] {
		check ^= b
	}
	return append(atr, check)
}
