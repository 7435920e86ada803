package proof

import (
	"encoding/binary"
	"fmt"
)

// A Challenge is all a card of ours ever signs. Whoever holds the card puts it
// together from what it sees itself, so a signature is worth nothing on another
// reader, another connection, for another session or another purpose.
type Challenge struct {
	Purpose string // "login", "presence"; one word for each use a signature has
	Reader  string // the name of the reader
	Session string // the session's id
	Channel []byte // exporter value of the TLS connection to the reader (RFC 9266); empty for a reader of our own
	About   []byte // SHA-256 of what is signed beyond presence; empty for presence
	Nonce   []byte // random, never used before
}

// NonceSize is the length of a challenge's nonce in bytes.
const NonceSize = 32

// Bounds on the parts of a challenge that come from elsewhere.
const (
	maxName  = 256
	maxAbout = 64
)

// Check says what is wrong with a challenge before anything is signed.
func (c Challenge) Check() error {
	switch {
	case c.Purpose == "" || len(c.Purpose) > maxName:
		return fmt.Errorf("challenge: got a purpose of %d bytes, want 1 to %d", len(c.Purpose), maxName)
	case len(c.Reader) > maxName || len(c.Session) > maxName:
		return fmt.Errorf("challenge: got names of %d and %d bytes, want at most %d", len(c.Reader), len(c.Session), maxName)
	case len(c.About) > maxAbout:
		return fmt.Errorf("challenge: got %d bytes it is about, want at most %d", len(c.About), maxAbout)
	case len(c.Nonce) != NonceSize:
		return fmt.Errorf("challenge: got a nonce of %d bytes, want %d", len(c.Nonce), NonceSize)
	}
	return nil
}

// Message is what is signed: every part with its length before it, so that no two
// challenges can read alike.
func (c Challenge) Message() []byte {
	var msg []byte
	for _, part := range [][]byte{
		[]byte("clinicgate/cardauth/v1"), []byte(c.Purpose), []byte(c.Reader), []byte(c.Session), c.Channel, c.About, c.Nonce,
	} {
		msg = binary.BigEndian.AppendUint32(msg, uint32(len(part)))
		msg = append(msg, part...)
	}
	return msg
}
