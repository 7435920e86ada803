// Package pin is what can be said of a PIN without knowing it: whether it has the
// form cards take, and what a card answered. It keeps none.
package pin

import (
	"errors"
	"fmt"
)

// What callers branch on.
var (
	ErrBlocked = errors.New("PIN is blocked")
	ErrForm    = errors.New("PIN is not 6 to 8 digits")
)

// Wrong is a PIN the card refused.
type Wrong struct{ Left int } // tries left, or Unknown

// Error says how many tries are left.
func (e *Wrong) Error() string {
	if e.Left == Unknown {
		return "wrong PIN; the card does not say how many tries are left"
	}
	return fmt.Sprintf("wrong PIN, %d tries left", e.Left)
}

// Unknown is the number of tries left when the card doesn't say.
const Unknown = -1

// Bounds on a PIN's digits, those of PIV (SP 800-73-5 part 2 §2.4.3).
const (
	Shortest = 6
	Longest  = 8
)

// Check says whether a PIN has the form a card takes, without asking a card.
func Check(digits []byte) error {
	if len(digits) < Shortest || len(digits) > Longest {
		return ErrForm
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return ErrForm
		}
	}
	return nil
}
