package flow

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind is what a message says.
type Kind uint8

// The messages, in the order of a session: each side says Hello; then the box
// that has flows sends all of them between BulkStart and BulkEnd, then changes.
// A Ping is answered by a Pong once everything before it is in the kernel. A Note is
// a word between the boxes that is not about connections; it keeps its place among
// the flows, so whoever reads it has what was told before.
const (
	Hello Kind = 1 + iota
	BulkStart
	BulkEnd
	Put
	Del
	Ping
	Pong
	Note
)

// Version of the format. Boxes of different releases speak to each other during an
// update; one that meets a version it does not know goes on without flows.
const Version = 1

// A Message is one frame: a byte for the kind, one for the length, the content.
type Message struct {
	Kind Kind
	Flow Flow     // Put; of Del the key only
	Seq  uint64   // Ping, Pong
	Ver  uint8    // Hello
	Box  [16]byte // Hello: drawn at each start, so that a box knows itself
	Text string   // Note: at most NoteLen bytes
}

// NoteLen is the most that a Note holds.
const NoteLen = 255

const (
	headLen  = 2
	helloLen = 1 + 16
	seqLen   = 8
	fixedLen = 13 // of a Put: all but the tuples
	delLen   = 2  // of a Del: all but the tuple
)

// ErrFrame is wrapped by every complaint about bytes that are no message.
var ErrFrame = errors.New("not a message of the pair")

// Append adds the message's frame to b.
func (m Message) Append(b []byte) []byte {
	start := len(b)
	b = append(b, byte(m.Kind), 0)
	switch m.Kind {
	case Hello:
		b = append(append(b, m.Ver), m.Box[:]...)
	case Put:
		f := m.Flow
		b = append(b, f.Proto, f.family(), byte(f.Status), f.State, f.Scale[0]<<4|f.Scale[1])
		b = binary.BigEndian.AppendUint32(b, f.Mark)
		b = binary.BigEndian.AppendUint32(b, f.Timeout)
		b = appendTuple(appendTuple(b, f.Tuple), f.Reply)
	case Del:
		b = appendTuple(append(b, m.Flow.Proto, m.Flow.family()), m.Flow.Tuple)
	case Ping, Pong:
		b = binary.BigEndian.AppendUint64(b, m.Seq)
	case Note:
		b = append(b, m.Text...)
	}
	b[start+1] = byte(len(b) - start - headLen)
	return b
}

func (k Key) family() byte {
	if k.Src.is4() {
		return 4
	}
	return 6
}

func appendTuple(b []byte, t Tuple) []byte {
	for _, e := range []End{t.Src, t.Dst} {
		if e.is4() {
			b = append(b, e.Addr[12:]...)
		} else {
			b = append(b, e.Addr[:]...)
		}
		b = binary.BigEndian.AppendUint16(b, e.Port)
	}
	return b
}

// Read reads one message. A frame is at most 257 bytes, whatever the sender says.
// The error is the reader's own when the frame did not come whole.
func Read(r io.Reader) (Message, error) {
	var frame [headLen + 255]byte
	if _, err := io.ReadFull(r, frame[:headLen]); err != nil {
		return Message{}, err
	}
	body := frame[headLen : headLen+int(frame[1])]
	if _, err := io.ReadFull(r, body); err != nil {
		return Message{}, fmt.Errorf("read message: %w", noEOF(err))
	}
	m, err := parse(Kind(frame[0]), body)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return m, nil
}

// Whole reports whether r holds a whole message already: reading it waits for nothing.
func Whole(r *bufio.Reader) bool {
	if r.Buffered() < headLen {
		return false
	}
	head, err := r.Peek(headLen)
	return err == nil && r.Buffered() >= headLen+int(head[1])
}

// noEOF keeps a torn frame apart from an orderly end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parse(kind Kind, b []byte) (Message, error) {
	m := Message{Kind: kind}
	switch kind {
	case BulkStart, BulkEnd:
		return m, length(b, 0)
	case Hello:
		if err := length(b, helloLen); err != nil {
			return m, err
		}
		m.Ver, m.Box = b[0], [16]byte(b[1:])
		return m, nil
	case Ping, Pong:
		if err := length(b, seqLen); err != nil {
			return m, err
		}
		m.Seq = binary.BigEndian.Uint64(b)
		return m, nil
	case Note:
		m.Text = string(b)
		return m, nil
	case Put:
		return m, m.Flow.parsePut(b)
	case Del:
		return m, m.Flow.parseDel(b)
	}
	return m, fmt.Errorf("got kind %d, want 1 to %d", kind, Note)
}

func length(b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("got %d bytes, want %d", len(b), want)
	}
	return nil
}

func (f *Flow) parsePut(b []byte) error {
	if len(b) < fixedLen {
		return length(b, fixedLen)
	}
	size, err := tupleLen(b[1])
	if err != nil {
		return err
	}
	if err := length(b, fixedLen+2*size); err != nil {
		return err
	}
	f.Proto, f.Status, f.State = b[0], uint16(b[2]), b[3]
	f.Scale = [2]uint8{b[4] >> 4, b[4] & 15}
	f.Mark, f.Timeout = binary.BigEndian.Uint32(b[5:]), binary.BigEndian.Uint32(b[9:])
	f.Tuple = parseTuple(b[fixedLen:fixedLen+size], size)
	f.Reply = parseTuple(b[fixedLen+size:], size)
	if f.family() != b[1] {
		return errors.New("got IPv4 addresses in an IPv6 flow")
	}
	return f.check()
}

func (f *Flow) parseDel(b []byte) error {
	if len(b) < delLen {
		return length(b, delLen)
	}
	size, err := tupleLen(b[1])
	if err != nil {
		return err
	}
	if err := length(b, delLen+size); err != nil {
		return err
	}
	f.Proto, f.Tuple = b[0], parseTuple(b[delLen:], size)
	if f.family() != b[1] || f.Dst.is4() != f.Src.is4() {
		return errors.New("got two address families in one flow")
	}
	if f.Proto != TCP && f.Proto != UDP {
		return fmt.Errorf("got protocol %d, want 6 or 17", f.Proto)
	}
	return nil
}

// tupleLen is the length of a tuple in a family: two addresses, two ports.
func tupleLen(family byte) (int, error) {
	switch family {
	case 4:
		return 2 * (4 + 2), nil
	case 6:
		return 2 * (16 + 2), nil
	}
	return 0, fmt.Errorf("got address family %d, want 4 or 6", family)
}

func parseTuple(b []byte, size int) (t Tuple) {
	end := func(b []byte) (e End) {
		n := len(b) - 2
		if n == 4 {
			e.Addr[10], e.Addr[11] = 0xff, 0xff
		}
		copy(e.Addr[16-n:], b[:n])
		e.Port = binary.BigEndian.Uint16(b[n:])
		return e
	}
	return Tuple{Src: end(b[:size/2]), Dst: end(b[size/2 : size])}
}
