// Package accord is what the two boxes of a pair say to each other besides
// connections: who takes the addresses over, by what time the tunnel last called
// its hub, and what their clocks show. It guarantees that what Parse returns is one
// of these, whole and within bounds.
package accord

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what a note says.
type Kind string

// The notes. A handover is Take, answered by Taken or Refuse with the same ID.
const (
	Take   Kind = "take"   // the master asks the other box to claim the addresses
	Taken  Kind = "taken"  // it has claimed them: let go
	Refuse Kind = "refuse" // it can't, and says Why
	Floor  Kind = "floor"  // At: the tunnel has called its hub with this time
	Clock  Kind = "clock"  // At: what the sender's clock shows
	Echo   Kind = "echo"   // At: the Clock that is answered; Now: what this one's shows
)

// A Note is one of them. Fields that its kind does not name are empty.
type Note struct {
	Kind Kind
	ID   uint64
	Why  string
	At   time.Time
	Now  time.Time
}

// maxWhy is the longest reason, in bytes.
const maxWhy = 160

// String is the note as it travels.
func (n Note) String() string {
	switch n.Kind {
	case Take, Taken:
		return fmt.Sprintf("%s %d", n.Kind, n.ID)
	case Refuse:
		return fmt.Sprintf("%s %d %s", n.Kind, n.ID, clip(n.Why))
	case Echo:
		return fmt.Sprintf("%s %d %d", n.Kind, n.At.UnixNano(), n.Now.UnixNano())
	default:
		return fmt.Sprintf("%s %d", n.Kind, n.At.UnixNano())
	}
}

// clip makes a reason printable and short.
func clip(why string) string {
	why = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return '?'
		}
		return r
	}, why)
	for len(why) > maxWhy {
		_, size := utf8.DecodeLastRuneInString(why)
		why = why[:len(why)-size]
	}
	return why
}

// Parse reads a note.
func Parse(text string) (Note, error) {
	kind, rest, _ := strings.Cut(text, " ")
	n := Note{Kind: Kind(kind)}
	var err error
	switch n.Kind {
	case Take, Taken:
		n.ID, err = strconv.ParseUint(rest, 10, 64)
	case Refuse:
		id, why, _ := strings.Cut(rest, " ")
		if n.ID, err = strconv.ParseUint(id, 10, 64); err == nil && why != clip(why) {
			err = fmt.Errorf("reason: got %d bytes, want up to %d that can be shown", len(why), maxWhy)
		}
		n.Why = why
	case Floor, Clock:
		n.At, err = moment(rest)
	case Echo:
		at, now, _ := strings.Cut(rest, " ")
		if n.At, err = moment(at); err == nil {
			n.Now, err = moment(now)
		}
	default:
		return Note{}, fmt.Errorf("note: got %.20q, want a kind that is known", kind)
	}
	if err != nil {
		return Note{}, fmt.Errorf("note %s: %w", kind, err)
	}
	return n, nil
}

// moment reads Unix nanoseconds, from 1970 to 2262.
func moment(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n < 0 {
		err = fmt.Errorf("got %d ns, want a time since 1970", n)
	}
	return time.Unix(0, n).UTC(), err
}
