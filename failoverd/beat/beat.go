// Package beat is what the boxes of a pair tell each other over the cable between
// them, many times a second: who is master, what each is worth and whether it reaches
// the clinic's network. It guarantees that what Open returns was made by a holder of
// the pair's key, and what Session accepts was made after this run began, for this
// run, and was not accepted before.
package beat

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Role is what a box does for a group.
type Role uint8

// The roles.
const (
	Init Role = iota
	Backup
	Master
)

// Group is one virtual router as the sender sees it.
type Group struct {
	VRID     uint8
	Six      bool // IPv6
	Role     Role
	Priority uint8
	Self     netip.Addr    // where the sender's advertisements come from; invalid: nowhere yet
	Heard    time.Duration // since it last heard a machine of the clinic; Never: not yet
	Asks     bool          // it does not hear the receiver's advertisements
}

// Never is a time ago that is longer than any.
const Never = time.Duration(1<<32-1) * time.Millisecond

// Message is one beat.
type Message struct {
	From, To uint64 // runs: the sender's, and the receiver's as far as the sender knows it
	Seq      uint64 // of the sender's run
	Groups   []Group
}

// The form on the wire: magic, From, To, Seq, the number of groups, the groups, and
// the first bytes of an HMAC-SHA256 over all of it.
const (
	magic     = "cgb1"
	header    = len(magic) + 3*8 + 1
	groupSize = 5 + 16 + 4
	macSize   = 16
	MaxGroups = 16
	MaxSize   = header + MaxGroups*groupSize + macSize
)

// What is wrong with bytes or with a beat.
var (
	ErrForm      = errors.New("not a beat")
	ErrKey       = errors.New("not made with this pair's key")
	ErrReflected = errors.New("our own beat came back")
	ErrStale     = errors.New("made for another run")
	ErrReplayed  = errors.New("heard before")
)

// Key derives the key of the beats from the pair's key.
func Key(pair [32]byte) ([]byte, error) {
	return hkdf.Key(sha256.New, pair[:], nil, "clinicgate pair beat 1", sha256.Size)
}

// Seal makes the bytes of a beat.
func Seal(key []byte, m Message) []byte {
	b := append(make([]byte, 0, MaxSize), magic...)
	b = binary.BigEndian.AppendUint64(b, m.From)
	b = binary.BigEndian.AppendUint64(b, m.To)
	b = binary.BigEndian.AppendUint64(b, m.Seq)
	groups := m.Groups[:min(len(m.Groups), MaxGroups)]
	b = append(b, uint8(len(groups)))
	for _, g := range groups {
		self := [16]byte{}
		if g.Self.IsValid() {
			self = g.Self.As16()
		}
		b = append(b, g.VRID, bit(g.Six), uint8(g.Role), g.Priority, bit(g.Asks))
		b = append(b, self[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(g.Heard, 0), Never)/time.Millisecond))
	}
	return append(b, sum(key, b)...)
}

func bit(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

func sum(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:macSize]
}

// Open reads a beat that was made with the key. Nothing is looked at before that is
// proven.
func Open(key, b []byte) (Message, error) {
	if len(b) < header+macSize || len(b) > MaxSize || string(b[:len(magic)]) != magic {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrForm, len(b))
	}
	body, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	if !hmac.Equal(mac, sum(key, body)) {
		return Message{}, ErrKey
	}
	m := Message{From: binary.BigEndian.Uint64(b[4:]), To: binary.BigEndian.Uint64(b[12:]), Seq: binary.BigEndian.Uint64(b[20:])}
	rest := body[header:]
	if n := int(body[header-1]); n > MaxGroups || len(rest) != n*groupSize {
		return Message{}, fmt.Errorf("%w: %d bytes for %d groups", ErrForm, len(rest), n)
	}
	for ; len(rest) > 0; rest = rest[groupSize:] {
		g, err := group(rest)
		if err != nil {
			return Message{}, err
		}
		m.Groups = append(m.Groups, g)
	}
	return m, nil
}

func group(b []byte) (Group, error) {
	g := Group{VRID: b[0], Six: b[1] == 1, Role: Role(b[2]), Priority: b[3], Asks: b[4] == 1,
		Heard: time.Duration(binary.BigEndian.Uint32(b[21:])) * time.Millisecond}
	if b[1] > 1 || g.Role > Master || b[4] > 1 {
		return g, fmt.Errorf("%w: group % x", ErrForm, b[:5])
	}
	if a := netip.AddrFrom16([16]byte(b[5:21])); !a.IsUnspecified() {
		g.Self = a.Unmap()
	}
	return g, nil
}

// Session is one run's talk with the other box. Own is a number that no other run
// has; the zero value of the rest has heard nobody.
type Session struct {
	Own   uint64
	seq   uint64
	last  uint64 // run that was heard last, to be answered
	peer  uint64 // run that answered us
	heard uint64 // its last Seq
}

// Next makes the next message.
func (s *Session) Next(groups []Group) Message {
	s.seq++
	return Message{From: s.Own, To: s.last, Seq: s.seq, Groups: groups}
}

// Accept judges a message that Open returned. Only one that answers this very run is
// news: a recorded one answers another.
func (s *Session) Accept(m Message) error {
	if m.From == s.Own {
		return ErrReflected
	}
	s.last = m.From
	switch {
	case m.To != s.Own:
		return ErrStale
	case m.From == s.peer && m.Seq <= s.heard:
		return ErrReplayed
	}
	s.peer, s.heard = m.From, m.Seq
	return nil
}
