package screen

import "strings"

// maxTyped is as much as is kept of one line: no command or answer is longer.
const maxTyped = 200

// What a key means beside a character.
type meaning int

const (
	keyNothing meaning = iota
	keyEnter           // the line is whole
	keyRedraw          // Ctrl-L
	keyEscape          // leave; also Ctrl-C
	keyMore            // a key for paging, on an empty line
)

// line is what is typed. Only printable ASCII counts. Escape sequences, as arrow
// keys and terminals' answers are, are passed over whole: of one that is cut off
// the rest is passed over up to its end.
type line struct {
	text    []byte
	over    bool // longer than maxTyped: the line is dropped at its end
	afterCR bool
	escape  escape
}

// escape is how far into an escape sequence the input is.
type escape int

const (
	escNone  escape = iota
	escBegun        // ESC
	escCSI          // ESC [ or ESC O: up to a final byte
	escText         // ESC ] P X ^ _: up to BEL or ESC \
)

// key takes one byte.
func (l *line) key(b byte) (string, meaning) {
	afterCR := l.afterCR
	l.afterCR = b == '\r'
	if l.escape != escNone {
		return "", l.inEscape(b)
	}
	switch {
	case b == '\n' && afterCR:
	case b == '\r' || b == '\n':
		return l.end()
	case b == 0x1b:
		l.escape = escBegun
	case b == 0x03:
		l.text, l.over = nil, false
		return "", keyEscape
	case b == 0x0c:
		return "", keyRedraw
	case b == 0x15: // Ctrl-U
		l.text, l.over = nil, false
	case b == '\b' || b == 0x7f:
		if len(l.text) > 0 {
			l.text = l.text[:len(l.text)-1]
		}
	case b == ' ' && len(l.text) == 0:
		return " ", keyMore
	case b >= ' ' && b <= '~':
		if len(l.text) >= maxTyped {
			l.over = true
			break
		}
		l.text = append(l.text, b)
	}
	return "", keyNothing
}

// end takes the line. Of one that is too long nothing is obeyed.
func (l *line) end() (string, meaning) {
	text := strings.TrimSpace(string(l.text))
	if l.over {
		text = "(too long)"
	}
	if text == "b" || text == "back" {
		l.text, l.over = l.text[:0], false
		return "", keyEscape
	}
	l.text, l.over = l.text[:0], false
	return text, keyEnter
}

// inEscape passes over one byte of an escape sequence. Enter always counts: noise
// that looks like the start of a sequence must not make the console deaf.
func (l *line) inEscape(b byte) meaning {
	switch {
	case b == '\r' || b == '\n':
		l.escape = escNone
		l.text, l.over = l.text[:0], false
		return keyRedraw
	case b == 0x1b:
		if l.escape == escBegun { // Escape twice
			l.escape = escNone
			return keyEscape
		}
		l.escape = escBegun
	case l.escape == escBegun && (b == '[' || b == 'O'):
		l.escape = escCSI
	case l.escape == escBegun && strings.IndexByte("]PX^_", b) >= 0:
		l.escape = escText
	case l.escape == escBegun,
		l.escape == escCSI && b >= 0x40 && b <= 0x7e,
		l.escape == escText && b == 0x07:
		l.escape = escNone
	}
	return keyNothing
}

// shown is the end of what is typed, as it fits, or stars for it.
func (l *line) shown(hidden bool, width int) string {
	text := string(l.text)
	if hidden {
		text = strings.Repeat("*", len(text))
	}
	return text[max(0, len(text)-max(width, 0)):]
}
