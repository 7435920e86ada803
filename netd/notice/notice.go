// Package notice is what a box and the fan at its hub tell each other beside
// WireGuard: by which paths the box can be reached, and what came through each. A
// stock WireGuard takes a notice for a message of unknown type and drops it.
//
// Both ends know each other's WireGuard keys. A notice is authenticated with what
// only they can compute from them, and counts only once it carries the nonce that
// was sent to the very address it comes from: nobody can have copies sent to a
// stranger's address.
package notice

import (
	"crypto/ecdh"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/blake2s"
)

// The first four bytes, which WireGuard would read as the message's type.
const (
	magicNotice = 0x316e6763 // "cgn1"
	magicAnswer = 0x31616763 // "cga1"
)

// Layout: magic 4, id 8, nonce 8, sequence 4, body, MAC 16; little endian as in
// WireGuard.
const (
	headSize   = 4 + 8 + 8 + 4
	macSize    = blake2s.Size128
	noticeSize = headSize + 2 + macSize
	answerSize = headSize + 16 + macSize
)

// Key is a secret that only the two ends of a tunnel know.
type Key [32]byte

// NewKey derives it from one end's private and the other's public WireGuard key.
func NewKey(private, public [32]byte) (Key, error) {
	priv, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return Key{}, fmt.Errorf("derive notice key: %w", err)
	}
	pub, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return Key{}, fmt.Errorf("derive notice key: %w", err)
	}
	shared, err := priv.ECDH(pub)
	if err != nil {
		return Key{}, fmt.Errorf("derive notice key: %w", err)
	}
	return blake2s.Sum256(append([]byte("clinicgate notice 1"), shared...)), nil
}

// ID names the key. It tells a bystander that notices belong together, as
// WireGuard's own receiver index does.
func (k Key) ID() [8]byte {
	sum := blake2s.Sum256(append([]byte("clinicgate notice id"), k[:]...))
	return [8]byte(sum[:8])
}

// Every is how often a path gives notice; after Life without one it is forgotten.
const (
	Every = 200 * time.Millisecond
	Life  = 3 * time.Second
)

// Notice tells the fan that the box can be reached by the path it comes by.
type Notice struct {
	Nonce [8]byte // the one last received by this path
	Seq   uint32
	All   bool  // a copy of every datagram, please
	Small uint8 // ... and so many of a small one
}

// Answer tells the box what came by the path.
type Answer struct {
	Nonce     [8]byte // to be sent back by the same path
	Seq       uint32  // of the notice
	Datagrams uint64  // received by this path so far
	Bytes     uint64
}

// ErrNotOurs is what a message is that was not made with the key.
var ErrNotOurs = errors.New("not a notice of ours")

// Marshal returns the message.
func (n Notice) Marshal(k Key) []byte {
	b := head(magicNotice, k, n.Nonce, n.Seq)
	all := byte(0)
	if n.All {
		all = 1
	}
	return seal(append(b, all, n.Small), k)
}

// Marshal returns the message.
func (a Answer) Marshal(k Key) []byte {
	b := head(magicAnswer, k, a.Nonce, a.Seq)
	b = binary.LittleEndian.AppendUint64(b, a.Datagrams)
	return seal(binary.LittleEndian.AppendUint64(b, a.Bytes), k)
}

func head(magic uint32, k Key, nonce [8]byte, seq uint32) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, answerSize), magic)
	id := k.ID()
	b = append(append(b, id[:]...), nonce[:]...)
	return binary.LittleEndian.AppendUint32(b, seq)
}

func mac(b []byte, k Key) []byte {
	h, err := blake2s.New128(k[:])
	if err != nil { // a key of 32 bytes is right
		return nil
	}
	h.Write(b)
	return h.Sum(nil)
}

func seal(b []byte, k Key) []byte { return append(b, mac(b, k)...) }

// open checks size, kind and MAC.
func open(b []byte, k Key, magic uint32, size int) error {
	if len(b) != size || binary.LittleEndian.Uint32(b) != magic || !hmac.Equal(mac(b[:size-macSize], k), b[size-macSize:]) {
		return ErrNotOurs
	}
	return nil
}

// Of returns the ID of the key that a notice claims to be made with.
func Of(b []byte) (id [8]byte, ok bool) {
	if len(b) != noticeSize || binary.LittleEndian.Uint32(b) != magicNotice {
		return id, false
	}
	return [8]byte(b[4:12]), true
}

// IsAnswer reports whether b looks like an answer.
func IsAnswer(b []byte) bool {
	return len(b) == answerSize && binary.LittleEndian.Uint32(b) == magicAnswer
}

// Parse reads a notice made with k.
func Parse(b []byte, k Key) (Notice, error) {
	if err := open(b, k, magicNotice, noticeSize); err != nil {
		return Notice{}, err
	}
	return Notice{
		Nonce: [8]byte(b[12:20]), Seq: binary.LittleEndian.Uint32(b[20:]), All: b[24] == 1, Small: b[25],
	}, nil
}

// ParseAnswer reads an answer made with k.
func ParseAnswer(b []byte, k Key) (Answer, error) {
	if err := open(b, k, magicAnswer, answerSize); err != nil {
		return Answer{}, err
	}
	return Answer{
		Nonce: [8]byte(b[12:20]), Seq: binary.LittleEndian.Uint32(b[20:]),
		Datagrams: binary.LittleEndian.Uint64(b[24:]), Bytes: binary.LittleEndian.Uint64(b[32:]),
	}, nil
}
