// Package command holds DIMSE command sets (PS3.7 §6.3 and annex E) and their
// bytes, always Implicit VR Little Endian. Its guarantee: what Parse accepts has
// every element inside its bounds and a command field; what Append writes has the
// group length and element order the standard wants.
package command

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// MaxSize bounds a command set; the longest legitimate one here is under 1 kB.
const MaxSize = 16 << 10

// ErrInvalid marks bytes that are no command set.
var ErrInvalid = errors.New("invalid command set")

// Field is the command field, (0000,0100).
type Field uint16

// The commands served and their answers (PS3.7 table E.1-1). An answer is its
// request with the highest bit set.
const (
	StoreRQ  Field = 0x0001
	StoreRSP Field = 0x8001
	EchoRQ   Field = 0x0030
	EchoRSP  Field = 0x8030
	FindRQ   Field = 0x0020
	EventRQ  Field = 0x0100
	ActionRQ Field = 0x0130
	Cancel   Field = 0x0FFF
)

// answer is the bit that tells answers from requests.
const answer = 0x8000

func (f Field) String() string {
	names := map[Field]string{
		StoreRQ: "C-STORE-RQ", StoreRSP: "C-STORE-RSP", EchoRQ: "C-ECHO-RQ", EchoRSP: "C-ECHO-RSP", Cancel: "C-CANCEL-RQ",
		0x0010: "C-GET-RQ", 0x0020: "C-FIND-RQ", 0x0021: "C-MOVE-RQ", 0x0100: "N-EVENT-REPORT-RQ", 0x0110: "N-GET-RQ",
		0x0120: "N-SET-RQ", 0x0130: "N-ACTION-RQ", 0x0140: "N-CREATE-RQ", 0x0150: "N-DELETE-RQ",
	}
	if n := names[f]; n != "" {
		return n
	}
	return fmt.Sprintf("command %#04x", uint16(f))
}

// Request reports whether f asks for an answer.
func (f Field) Request() bool { return f&answer == 0 && f != Cancel }

// Response is the command field of the answer to f.
func (f Field) Response() Field { return f | answer }

// Command is one command set. Elements not named here are skipped.
type Command struct {
	Field       Field
	MessageID   uint16 // of a request
	RespondedTo uint16 // of an answer: the request's MessageID
	Class       string // affected SOP class UID
	Instance    string // affected SOP instance UID
	Priority    uint16
	HasData     bool // a data set follows
	Status      uint16
	Comment     string // error comment, at most 64 characters
	Type        uint16 // of an action or an event
}

// Elements of group 0000.
const (
	elemGroupLength = 0x0000
	elemClass       = 0x0002
	elemRequested   = 0x0003 // requested SOP class, where there is no affected one
	elemField       = 0x0100
	elemMessageID   = 0x0110
	elemRespondedTo = 0x0120
	elemPriority    = 0x0700
	elemDataSetType = 0x0800
	elemStatus      = 0x0900
	elemComment     = 0x0902
	elemInstance    = 0x1000
	elemAsked       = 0x1001 // requested SOP instance
	elemEvent       = 0x1002
	elemAction      = 0x1008
)

const (
	noDataSet  = 0x0101 // of elemDataSetType; any other value: a data set follows
	hasDataSet = 0x0001
)

// Parse reads a whole command set.
func Parse(b []byte) (Command, error) {
	c := Command{HasData: true}
	seen := map[uint16]bool{}
	for len(b) > 0 {
		if len(b) < 8 {
			return c, fmt.Errorf("%w: %d bytes left, want an element", ErrInvalid, len(b))
		}
		group, elem := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		length := binary.LittleEndian.Uint32(b[4:])
		b = b[8:]
		if group != 0 || seen[elem] {
			return c, fmt.Errorf("%w: element (%04x,%04x), want group 0000 and each once", ErrInvalid, group, elem)
		}
		if uint64(length) > uint64(len(b)) {
			return c, fmt.Errorf("%w: (0000,%04x) of %d bytes, %d left", ErrInvalid, elem, length, len(b))
		}
		seen[elem] = true
		if err := c.set(elem, b[:length]); err != nil {
			return c, err
		}
		b = b[length:]
	}
	if !seen[elemField] || !seen[elemDataSetType] {
		return c, fmt.Errorf("%w: command field or data set type missing", ErrInvalid)
	}
	return c, nil
}

func (c *Command) set(elem uint16, v []byte) error {
	var number *uint16
	var dataSet uint16
	switch elem {
	case elemField:
		number = (*uint16)(&c.Field)
	case elemMessageID:
		number = &c.MessageID
	case elemRespondedTo:
		number = &c.RespondedTo
	case elemPriority:
		number = &c.Priority
	case elemStatus:
		number = &c.Status
	case elemDataSetType:
		number = &dataSet
	case elemEvent, elemAction:
		number = &c.Type
	case elemClass, elemRequested:
		c.Class = text(v)
	case elemInstance, elemAsked:
		c.Instance = text(v)
	case elemComment:
		c.Comment = text(v)
	}
	if number == nil {
		return nil
	}
	if len(v) != 2 {
		return fmt.Errorf("%w: (0000,%04x) of %d bytes, want 2", ErrInvalid, elem, len(v))
	}
	*number = binary.LittleEndian.Uint16(v)
	if elem == elemDataSetType {
		c.HasData = *number != noDataSet
	}
	return nil
}

func text(v []byte) string { return strings.TrimRight(string(v), "\x00 ") }

// Append appends the bytes of c to b: the elements c's command has, ascending.
func Append(b []byte, c Command) []byte {
	at := len(b)
	b = appendElem(b, elemGroupLength, make([]byte, 4))
	b = appendText(b, elemClass, c.Class, 0)
	b = appendNumber(b, elemField, uint16(c.Field))
	if c.Field&answer == 0 {
		b = appendNumber(b, elemMessageID, c.MessageID)
	} else {
		b = appendNumber(b, elemRespondedTo, c.RespondedTo)
	}
	if c.Field == StoreRQ {
		b = appendNumber(b, elemPriority, c.Priority)
	}
	dataSet := uint16(noDataSet)
	if c.HasData {
		dataSet = hasDataSet
	}
	b = appendNumber(b, elemDataSetType, dataSet)
	if c.Field&answer != 0 {
		b = appendNumber(b, elemStatus, c.Status)
		b = appendText(b, elemComment, c.Comment[:min(len(c.Comment), 64)], ' ')
	}
	b = appendText(b, elemInstance, c.Instance, 0)
	switch c.Field &^ answer {
	case EventRQ:
		b = appendNumber(b, elemEvent, c.Type)
	case ActionRQ:
		b = appendNumber(b, elemAction, c.Type)
	}
	binary.LittleEndian.PutUint32(b[at+8:], uint32(len(b)-at-12))
	return b
}

func appendNumber(b []byte, elem, v uint16) []byte {
	return appendElem(b, elem, binary.LittleEndian.AppendUint16(nil, v))
}

// appendText writes text padded to even length; an empty one is left out.
func appendText(b []byte, elem uint16, s string, pad byte) []byte {
	if s == "" {
		return b
	}
	v := []byte(s)
	if len(v)%2 == 1 {
		v = append(v, pad)
	}
	return appendElem(b, elem, v)
}

func appendElem(b []byte, elem uint16, v []byte) []byte {
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, elem)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}
