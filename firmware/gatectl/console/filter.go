package console

import (
	"io"
	"slices"
)

// filter passes on what a VT100 of 7 bits understands and swallows the rest: modes
// and questions of later terminals, colours, anything beyond ASCII. It keeps a
// sequence that is cut off until its end comes.
type filter struct {
	out     io.Writer
	pending []byte // of an escape sequence
	text    bool   // in a sequence that is text up to its terminator
}

// finals end the control sequences that a VT100 knows (VT100 User Guide, chapter 3)
// and that ask for no answer: cursor moves, erasing, margins, attributes.
const finals = "ABCDHJKfmr"

// maxSequence bounds one: longer is none of ours.
const maxSequence = 32

// Write passes on p, less what a VT100 would not take. Line feeds become CR LF.
func (f *filter) Write(p []byte) (int, error) {
	pass := make([]byte, 0, len(p)+32)
	for _, b := range p {
		pass = f.byte(pass, b)
	}
	if len(pass) == 0 {
		return len(p), nil
	}
	if _, err := f.out.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *filter) byte(pass []byte, b byte) []byte {
	switch {
	case len(f.pending) > 0:
		return f.sequence(pass, b)
	case b == 0x1b:
		f.pending = append(f.pending, b)
	case b == '\n':
		pass = append(pass, '\r', '\n')
	case b == '\r' || b == '\b' || b >= ' ' && b <= '~':
		pass = append(pass, b)
	case b >= 0xc0: // the first byte of a character of several
		pass = append(pass, '?')
	}
	return pass
}

// sequence takes one byte of an escape sequence.
func (f *filter) sequence(pass []byte, b byte) []byte {
	if f.text {
		if b == 0x07 || b == '\\' && f.pending[len(f.pending)-1] == 0x1b {
			f.pending, f.text = f.pending[:0], false
		} else {
			f.pending = append(f.pending[:1], b)
		}
		return pass
	}
	f.pending = append(f.pending, b)
	n := len(f.pending)
	switch {
	case n == 2 && b == '[':
	case n == 2 && slices.Contains([]byte("]PX^_"), b):
		f.text = true
	case n == 2: // ESC M and its like; 7 and 8 save and restore the cursor
		if slices.Contains([]byte("78DEM"), b) {
			pass = append(pass, f.pending...)
		}
		f.pending = f.pending[:0]
	case b >= 0x40 && b <= 0x7e:
		if slices.Contains([]byte(finals), b) && known(f.pending[2:n-1], b) {
			pass = append(pass, f.pending...)
		}
		f.pending = f.pending[:0]
	case n >= maxSequence:
		f.pending = f.pending[:0]
	}
	return pass
}

// known reports whether a VT100 takes these parameters: numbers, and of attributes
// only bold, underlined, blinking and reversed.
func known(params []byte, final byte) bool {
	for _, b := range params {
		if (b < '0' || b > '9') && b != ';' {
			return false
		}
	}
	if final != 'm' {
		return true
	}
	return len(params) == 0 || len(params) == 1 && slices.Contains([]byte("01457"), params[0])
}
