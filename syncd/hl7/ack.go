package hl7

import (
	"fmt"
	"strings"
	"time"
)

// Outcome of taking a message, in the order of how bad it is.
type Outcome int

// The outcomes.
const (
	Accepted Outcome = iota // durable
	Failed                  // our failure: send again
	Rejected                // sending again is useless
)

// Code says how m wants to be told the outcome (HL7 v2 §2.9): in original mode AA,
// AE or AR; in enhanced mode CA, CE or CR as MSH-15 asks, else AA, AE or AR as
// MSH-16 asks; empty: it wants no word of it. We keep what we accept, so both are
// true when the message is durable; one of them is sent.
func (m Message) Code(o Outcome) string {
	switch letter := "AER"[o : o+1]; {
	case m.Accept == "" && m.App == "":
		return "A" + letter
	case asks(m.Accept, o):
		return "C" + letter
	case asks(m.App, o):
		return "A" + letter
	}
	return ""
}

// asks reads table 0155. What is none of its values is taken for always.
func asks(condition string, o Outcome) bool {
	switch condition {
	case "", "NE", `""`:
		return false
	case "ER":
		return o != Accepted
	case "SU":
		return o == Accepted
	}
	return true
}

// Ack is the acknowledgement of m under our control id, in its own delimiters.
// why, if any, has a code of table 0357 and a sentence without patient data.
func (m Message) Ack(code, control string, why *Error, now time.Time) []byte {
	if m.Field == 0 { // its header could not be read
		m.Field, m.Encoding, m.Version, m.Processing = '|', `^~\&`, "2.5", "P"
	}
	c := m.Encoding[:1]
	kind := "ACK"
	if m.Event != "" {
		kind += c + m.Event + c + "ACK"
	}
	msh := []string{"MSH", m.Encoding, m.To[0], m.To[1], m.From[0], m.From[1], now.Format("20060102150405-0700"), "", kind, control, m.Processing, m.Version}
	msa := []string{"MSA", code, m.Control}
	segments := [][]string{msh, msa}
	if why != nil {
		text := m.clean(why.What)
		if m.Version < "2.5" { // MSA-3 went when ERR got its text
			segments[1] = append(msa, text)
		} else {
			segments = append(segments, []string{"ERR", "", "", fmt.Sprint(why.Code) + c + c + "HL70357", "E", "", "", "", text})
		}
	}
	var b strings.Builder
	for _, s := range segments {
		b.WriteString(strings.Join(s, string(m.Field)))
		b.WriteByte('\r')
	}
	return []byte(b.String())
}

// clean keeps delimiters and control characters out of a sentence.
func (m Message) clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == rune(m.Field) || strings.ContainsRune(m.Encoding, r) {
			return ' '
		}
		return r
	}, s)
}
