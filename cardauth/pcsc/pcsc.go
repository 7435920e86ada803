// Package pcsc reaches card readers through pcscd. It is the only package with C
// in it; without cgo every call says errors.ErrUnsupported. A Card is held with
// exclusive access and is reset when it is taken and when it is let go, so that
// no PIN shown to it outlives its holder.
package pcsc

import "errors"

// What callers branch on. Everything else is a broken reader or card: let go and
// connect again.
var (
	ErrService = errors.New("pcscd does not answer")
	ErrNoCard  = errors.New("no card in the reader")
	ErrInUse   = errors.New("another program holds the card")
)

// A State is one reader as pcscd sees it.
type State struct {
	Reader string // PC/SC name
	Card   bool
	Mute   bool   // the card doesn't answer its reset: put in wrongly, or broken
	Events uint16 // counts insertions and removals; wraps
}
