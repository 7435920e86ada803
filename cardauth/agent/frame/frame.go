// Package frame is what a room's workstation and the gateway say to each other
// about the workstation's card reader: small JSON objects with their length before
// them, bounded, and which commands may reach a card at all. There is no word in it
// that carries a PIN, and none by which the gateway could have anything signed but
// a challenge of ours.
package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Max is how long one frame's body may be in bytes: a card's longest short answer
// in base64 and room to spare.
const Max = 16 << 10

// Label is the label of the TLS exporter (RFC 8446 §7.5) that binds what is signed,
// and enrolment, to the connection; the context is empty.
const Label = "EXPORTER-clinicgate-room-agent-v1"

// ExporterSize is the length of the exporter's value in bytes.
const ExporterSize = 32

// Protocol is the name both sides agree on by ALPN.
const Protocol = "clinicgate-room/1"

// What a gateway can ask for.
const (
	Open     = "open"     // hold the card, reset
	Close    = "close"    // let it go, reset
	Transmit = "transmit" // one command of those Allowed
	PIN      = "pin"      // have the holder show the PIN
	Prove    = "prove"    // sign a challenge
)

// A Request is what the gateway asks; without an ID it is a sign of life.
type Request struct {
	ID       uint32 `json:"id,omitempty"`
	Do       string `json:"do,omitempty"`
	Command  []byte `json:"command,omitempty"`  // Transmit
	Question string `json:"question,omitempty"` // PIN: what the holder reads
	Proof    *Proof `json:"proof,omitempty"`
}

// A Proof is what the workstation puts a challenge together from. The reader and
// the connection are not in it: those it knows itself.
type Proof struct {
	Use     byte   `json:"use"`
	Kind    byte   `json:"kind"`
	Purpose string `json:"purpose"`
	Session string `json:"session"`
	About   []byte `json:"about,omitempty"`
	Nonce   []byte `json:"nonce"`
}

// An Answer is what the workstation says: the answer to the request of that ID, or
// without an ID how the reader is and that the workstation is alive.
type Answer struct {
	ID     uint32   `json:"id,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Took   int64    `json:"took,omitempty"` // microseconds the card needed
	Error  *Failure `json:"error,omitempty"`
	Reader *Reader  `json:"reader,omitempty"` // nil: only a sign of life
}

// A Reader is the workstation's card reader.
type Reader struct {
	Name   string `json:"name"` // empty: none is plugged in
	Card   bool   `json:"card,omitempty"`
	Mute   bool   `json:"mute,omitempty"`
	Events uint16 `json:"events,omitempty"`
	Pad    bool   `json:"pad,omitempty"` // the reader has a PIN pad of its own
}

// Kinds of failure.
const (
	Broken   = "broken"    // the card can't be talked to any more
	NoCard   = "no-card"   // none is in
	InUse    = "in-use"    // another program holds it
	Refused  = "refused"   // not what a gateway may ask for
	Status   = "status"    // the card's status word says so
	WrongPIN = "wrong-pin" // Left says how many tries are left
	Blocked  = "blocked"
	BadPIN   = "malformed-pin"
	Declined = "declined" // nobody typed a PIN
)

// A Failure is why a request was not done.
type Failure struct {
	Kind   string `json:"kind"`
	Status uint16 `json:"status,omitempty"`
	Left   int    `json:"left,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Error says the kind and the text.
func (f *Failure) Error() string { return "workstation: " + f.Kind + ": " + f.Text }

// ErrFrame is the ground of every complaint about a frame.
var ErrFrame = errors.New("malformed frame")

// Write sends v as one frame in one write.
func Write(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if len(body) > Max {
		return fmt.Errorf("write frame: %w: %d bytes, want at most %d", ErrFrame, len(body), Max)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if _, err := w.Write(append(out, body...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// Read reads one frame into v. It asks for no more memory than Max, whatever the
// length says. Unknown members are refused: both sides are of one release train,
// and what is not understood must not be taken for agreed.
func Read(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > Max {
		return fmt.Errorf("read frame: %w: %d bytes, want 1 to %d", ErrFrame, n, Max)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return Parse(body, v)
}

// Parse reads a frame's body into v.
func Parse(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("read frame: %w: %w", ErrFrame, err)
	}
	if dec.More() {
		return fmt.Errorf("read frame: %w: more than one object", ErrFrame)
	}
	return nil
}
