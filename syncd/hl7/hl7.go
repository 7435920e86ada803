// Package hl7 reads HL7 v2 messages as far as one who keeps them must, and writes
// acknowledgements. Its guarantee: what Parse accepts names its sender, its control
// id, its type and how it wants to be acknowledged, and every segment of it is
// formed as one; it never changes a byte.
package hl7

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of what is looked at.
const (
	maxSegments = 100_000
	maxField    = 1024 // of the MSH fields that are used
)

// Error is why a message can't be taken, as table 0357 codes it.
type Error struct {
	Code int    // 100 sequence, 101 missing field, 102 data type, 200 type, 202 processing id, 203 version
	What string // no patient data
}

func (e *Error) Error() string { return e.What }

func wrong(code int, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// ErrNoHeader: the bytes do not begin with MSH and its delimiters, so that not even
// an acknowledgement can be addressed.
var ErrNoHeader = errors.New("no MSH segment at the beginning")

// Message is a message's header, and the patient of its first PID.
type Message struct {
	Field      byte   // field separator
	Encoding   string // MSH-2
	From       [2]string
	To         [2]string
	Type       string // MSH-9.1, "ORU"
	Event      string // MSH-9.2, "R01"
	Control    string // MSH-10
	Processing string // MSH-11.1
	Version    string // MSH-12.1
	Accept     string // MSH-15: AL, NE, ER, SU or empty
	App        string // MSH-16
	Charset    string // MSH-18
	Patient    Patient
	Deviation  string // how it differs from the standard, if it does
}

// Patient is who a message is about, as it says. It must not reach a log.
type Patient struct {
	ID     string // PID-3.1
	Issuer string // PID-3.4, its namespace
	Name   string // PID-5, FAMILY^GIVEN
	Birth  string // YYYYMMDD
	Sex    string // M, F, O or empty
}

// Header reads MSH alone, of a message that may be cut short.
func Header(b []byte) (Message, error) {
	m := Message{}
	if rest, found := bytes.CutPrefix(b, []byte("\xef\xbb\xbf")); found {
		b, m.Deviation = rest, "begins with a byte order mark"
	}
	if len(b) < 8 || string(b[:3]) != "MSH" {
		return Message{}, ErrNoHeader
	}
	line := b
	if end := bytes.IndexAny(b, "\r\n"); end >= 0 {
		line = b[:end]
	}
	if len(line) < 8 || len(line) > 32*maxField {
		return Message{}, ErrNoHeader
	}
	f := strings.Split(string(line[4:]), string(line[3:4])) // f[0] is MSH-2
	if !delimiters(string(line[3:4]) + f[0]) {
		return Message{}, ErrNoHeader
	}
	m.Field, m.Encoding = line[3], f[0]
	field := func(n int) string {
		if n-2 >= len(f) || len(f[n-2]) > maxField {
			return ""
		}
		return f[n-2]
	}
	m.From, m.To = [2]string{field(3), field(4)}, [2]string{field(5), field(6)}
	m.Type, m.Event, m.Control = m.component(field(9), 1), m.component(field(9), 2), field(10)
	m.Processing, m.Version = m.component(field(11), 1), m.component(field(12), 1)
	m.Accept, m.App, m.Charset = field(15), field(16), field(18)
	return m, nil
}

// delimiters tells whether s is MSH-1 and MSH-2: five or six marks, no two alike.
func delimiters(s string) bool {
	if len(s) < 5 || len(s) > 6 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		// "" is HL7's null, and the others stand in times and numbers.
		if c <= ' ' || c > '~' || letter || strings.IndexByte(`"+-.`, c) >= 0 || strings.IndexByte(s[i+1:], c) >= 0 {
			return false
		}
	}
	return true
}

// Parse reads a whole message.
func Parse(b []byte) (Message, error) {
	m, err := Header(b)
	if err != nil {
		return m, err
	}
	switch {
	case m.Control == "":
		return m, wrong(101, "MSH-10 (control id) is empty")
	case m.Type == "":
		return m, wrong(101, "MSH-9 (message type) is empty")
	case m.Processing != "P":
		return m, wrong(202, "MSH-11 says %.8q, want P: messages for training or debugging are no results", m.Processing)
	case !strings.HasPrefix(m.Version, "2."):
		return m, wrong(203, "MSH-12 says version %.8q, want 2.x", m.Version)
	}
	return m, m.segments(b)
}

// segments checks the shape of every segment and reads the patient.
func (m *Message) segments(b []byte) error {
	if bytes.IndexByte(b, '\n') >= 0 {
		m.Deviation = strings.TrimPrefix(m.Deviation+"; segments end with LF", "; ")
	}
	n, patient := 0, false
	for len(b) > 0 {
		end := bytes.IndexAny(b, "\r\n")
		line := b
		if end >= 0 {
			line, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		if len(line) == 0 {
			continue // between CR and LF
		}
		if n++; n > maxSegments {
			return wrong(100, "more than %d segments", maxSegments)
		}
		if n > 1 && !m.segment(line) {
			return wrong(100, "segment %d is not three letters and fields", n)
		}
		if n > 1 && !patient && string(line[:3]) == "PID" {
			m.patient(string(line))
			patient = true
		}
	}
	if n < 2 {
		return wrong(100, "a header and nothing else")
	}
	return nil
}

// segment tells whether line has a segment's shape.
func (m *Message) segment(line []byte) bool {
	if len(line) < 3 || len(line) > 3 && line[3] != m.Field {
		return false
	}
	for i, c := range line[:3] {
		if !(c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}

func (m *Message) patient(line string) {
	f := strings.SplitN(line, string(m.Field), 10)
	field := func(n int) string {
		if n >= len(f) {
			return ""
		}
		one, _, _ := strings.Cut(f[n], m.Encoding[1:2]) // the first repetition
		if len(one) > maxField {
			return ""
		}
		return one
	}
	m.Patient.ID = m.text(m.component(field(3), 1))
	issuer, _, _ := strings.Cut(m.component(field(3), 4), m.Encoding[3:4]) // the namespace of HD
	m.Patient.Issuer = m.text(issuer)
	family, _, _ := strings.Cut(m.component(field(5), 1), m.Encoding[3:4]) // the surname of FN
	if given := m.component(field(5), 2); family+given != "" {
		m.Patient.Name = m.text(family) + "^" + m.text(given)
	}
	if d := field(7); len(d) >= 8 && strings.Trim(d[:8], "0123456789") == "" {
		m.Patient.Birth = d[:8]
	}
	if s := field(8); s == "M" || s == "F" || s == "O" {
		m.Patient.Sex = s
	}
}

// component is the n-th of a field, from 1.
func (m *Message) component(field string, n int) string {
	parts := strings.SplitN(field, m.Encoding[:1], n+1)
	if len(parts) < n {
		return ""
	}
	return parts[n-1]
}

// text reads a value for showing and comparing: escapes and character set. Sets
// other than ASCII, Latin-1 and UTF-8 are not decoded; what can't be read is marked.
func (m *Message) text(s string) string {
	if m.Charset == "8859/1" || !utf8.ValidString(s) && m.Charset == "" {
		r := make([]rune, 0, len(s))
		for i := range len(s) {
			r = append(r, rune(s[i]))
		}
		s = string(r)
	}
	e := m.Encoding[2:3]
	pairs := []string{e + "F" + e, string(m.Field), e + "E" + e, e}
	for i, letter := range []string{"S", "R", "", "T"} {
		if letter != "" {
			pairs = append(pairs, e+letter+e, m.Encoding[i:i+1])
		}
	}
	return strings.ToValidUTF8(strings.NewReplacer(pairs...).Replace(s), "\uFFFD")
}
