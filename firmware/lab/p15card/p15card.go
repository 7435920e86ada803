// Package p15card is a virtual card of ISO/IEC 7816-15 (PKCS #15): files with
// directories in DER, one PIN, one key for authentication. It shares no code with
// cardauth; OpenSC's pkcs15-tool is the check on it.
package p15card

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"math/big"
	"sync"
)

const (
	pinReference = 1
	keyReference = 2
	maxTries     = 3
)

// aid is the PKCS #15 application.
const aid = "\xA0\x00\x00\x00\x63PKCS-15"

// A Card is one card. Safe for concurrent use.
type Card struct {
	mu    sync.Mutex
	pin   string
	tries int
	key   *ecdsa.PrivateKey
	files map[uint16][]byte

	verified bool   // lost on reset
	chosen   uint16 // file; 0: none
	env      bool   // MANAGE SECURITY ENVIRONMENT chose the key
}

// New makes a card with this PIN (6 to 8 digits) and a P-256 key.
func New(pin string) (*Card, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &Card{pin: pin, tries: maxTries, key: key, files: map[uint16][]byte{}}
	path := func(file uint16) []byte { return seq(tlv(4, []byte{0x3F, 0, 0x50, 0x15, byte(file >> 8), byte(file)})) }
	label := func(s string, more ...[]byte) []byte { return seq(append([][]byte{tlv(0x0C, []byte(s))}, more...)...) }
	c.files[0x2F00] = tlv(0x61, join(tlv(0x4F, []byte(aid)), tlv(0x50, []byte("Test")), tlv(0x51, []byte{0x3F, 0, 0x50, 0x15})))
	c.files[0x5031] = join(tlv(0xA0, path(0x4401)), tlv(0xA4, path(0x4402)), tlv(0xA8, path(0x4403)))
	c.files[0x5032] = seq(tlv(2, []byte{0}), tlv(4, []byte{1, 2, 3, 4}), tlv(0x0C, []byte("clinicgate")), tlv(0x80, []byte("Test card")), tlv(3, []byte{4, 0x10}))
	c.files[0x4401] = tlv(0xA0, join( // an EC key that signs, behind the PIN
		label("Key", tlv(3, []byte{7, 0x80}), tlv(4, []byte{1})),
		seq(tlv(4, []byte{0x45}), tlv(3, []byte{5, 0x20}), tlv(2, []byte{keyReference})),
		tlv(0xA1, seq(path(0x3F00), tlv(2, []byte{1, 0}))),
	))
	c.files[0x4402] = seq(label("Certificate"), seq(tlv(4, []byte{0x45})), tlv(0xA1, seq(path(0x4331))))
	c.files[0x4403] = seq(label("PIN", tlv(3, []byte{7, 0x80})), seq(tlv(4, []byte{1})), tlv(0xA1, seq(
		tlv(3, []byte{2, 0x0C}), tlv(10, []byte{1}), tlv(2, []byte{6}), tlv(2, []byte{8}), tlv(2, []byte{8}),
		tlv(0x80, []byte{pinReference}), tlv(4, []byte{0xFF}),
	)))
	return c, nil
}

// Public is the public half of the key.
func (c *Card) Public() crypto.PublicKey { return c.key.Public() }

// PutCertificate stores the key's certificate, in a file with room behind it.
func (c *Card) PutCertificate(der []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[0x4331] = append(append([]byte{}, der...), make([]byte, 64)...)
}

// PutFile stores any bytes in a file, for tests of what is made of nonsense.
func (c *Card) PutFile(id uint16, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[id] = raw
}

// Tries returns how many wrong PINs the card still takes.
func (c *Card) Tries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

// Reset takes the card's power away and gives it back.
func (c *Card) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verified, c.chosen, c.env = false, 0, false
}

// Transmit gives the card a short command APDU and returns its response.
func (c *Card) Transmit(cmd []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(cmd) < 4 {
		return sw(0x6700)
	}
	if cmd[0] != 0 {
		return sw(0x6E00)
	}
	data, ne, ok := split(cmd[4:])
	if !ok {
		return sw(0x6700)
	}
	switch cmd[1] {
	case 0xA4:
		return c.choose(cmd[2], cmd[3], data)
	case 0xB0:
		return c.read(int(cmd[2])<<8|int(cmd[3]), ne)
	case 0x20:
		return c.verify(cmd[2], cmd[3], data)
	case 0x22:
		return c.environment(data)
	case 0x2A:
		return c.sign(data)
	case 0xC0: // GET RESPONSE: nothing is ever left
		return sw(0x6985)
	}
	return sw(0x6D00)
}

// choose is SELECT, by application, file or path; the last file of a path counts.
func (c *Card) choose(p1, p2 byte, data []byte) []byte {
	var file uint16
	switch {
	case p1 == 4 && string(data) == aid:
		file = 0x5015
	case p1 == 0 && len(data) == 0:
		file = 0x3F00
	case p1 != 4 && len(data) >= 2 && len(data)%2 == 0:
		file = uint16(data[len(data)-2])<<8 | uint16(data[len(data)-1])
	default:
		return sw(0x6A82)
	}
	content, isFile := c.files[file]
	if !isFile && file != 0x3F00 && file != 0x5015 {
		return sw(0x6A82)
	}
	c.chosen = file
	if p2&0x0C == 0x0C {
		return sw(0x9000)
	}
	kind := byte(0x38)
	if isFile {
		kind = 0x01
	}
	fci := tlv(0x6F, join(tlv(0x81, []byte{byte(len(content) >> 8), byte(len(content))}), tlv(0x82, []byte{kind}), tlv(0x83, []byte{byte(file >> 8), byte(file)})))
	return append(fci, sw(0x9000)...)
}

func (c *Card) read(at, ne int) []byte {
	content, isFile := c.files[c.chosen]
	switch {
	case !isFile:
		return sw(0x6986)
	case at > len(content):
		return sw(0x6B00)
	}
	rest := content[at:]
	return append(append([]byte{}, rest[:min(ne, len(rest))]...), sw(0x9000)...)
}

func (c *Card) verify(p1, ref byte, data []byte) []byte {
	if ref&^0x80 != pinReference {
		return sw(0x6A88)
	}
	if p1 == 0xFF {
		c.verified = false
		return sw(0x9000)
	}
	if c.tries == 0 {
		return sw(0x6983)
	}
	if len(data) == 0 {
		if c.verified {
			return sw(0x9000)
		}
		return sw(0x63C0 | c.tries)
	}
	want := c.pin
	for len(want) < 8 {
		want += "\xFF"
	}
	if string(data) != want {
		c.verified = false
		c.tries--
		if c.tries == 0 {
			return sw(0x6983)
		}
		return sw(0x63C0 | c.tries)
	}
	c.tries, c.verified = maxTries, true
	return sw(0x9000)
}

// environment is MANAGE SECURITY ENVIRONMENT for signatures: the key by its
// reference, in 84.
func (c *Card) environment(data []byte) []byte {
	c.env = false
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		tag, value := data[0], data[2:2+int(data[1])]
		if tag == 0x84 && len(value) == 1 && value[0] == keyReference {
			c.env = true
		}
		data = data[2+len(value):]
	}
	if !c.env {
		return sw(0x6A88)
	}
	return sw(0x9000)
}

// sign is COMPUTE DIGITAL SIGNATURE: a digest in, both halves out.
func (c *Card) sign(digest []byte) []byte {
	if !c.verified {
		return sw(0x6982)
	}
	if !c.env || len(digest) != 32 {
		return sw(0x6985)
	}
	der, err := c.key.Sign(rand.Reader, digest, crypto.SHA256)
	var halves struct{ R, S *big.Int }
	if err == nil {
		_, err = asn1.Unmarshal(der, &halves)
	}
	if err != nil {
		return sw(0x6F00)
	}
	out := append(halves.R.FillBytes(make([]byte, 32)), halves.S.FillBytes(make([]byte, 32))...)
	return append(out, sw(0x9000)...)
}

func sw(n int) []byte { return []byte{byte(n >> 8), byte(n)} }

// split takes a short command's data and how much it wants back.
func split(rest []byte) (data []byte, ne int, ok bool) {
	switch {
	case len(rest) == 0:
		return nil, 0, true
	case len(rest) == 1:
		return nil, le(rest[0]), true
	}
	n := int(rest[0])
	rest = rest[1:]
	switch len(rest) {
	case n:
		return rest, 0, true
	case n + 1:
		return rest[:n], le(rest[n]), true
	}
	return nil, 0, false
}

func le(b byte) int {
	if b == 0 {
		return 256
	}
	return int(b)
}

func tlv(tag byte, value []byte) []byte {
	out := []byte{tag}
	switch n := len(value); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, value...)
}

func seq(parts ...[]byte) []byte { return tlv(0x30, join(parts...)) }

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
