package piv

import (
	"errors"
	"fmt"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/pin"
)

// References of PINs (part 1, table 4a). A card has the PIV application's or, if that
// is not there, the one of all its applications.
const (
	applicationPIN = 0x80
	globalPIN      = 0x00
)

// Forget makes the card forget that a PIN was shown. Cards before SP 800-73-4
// don't know the command; for them a reset does it.
func (c *Card) Forget() error {
	_, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P1: 0xFF, P2: c.reference})
	if err != nil {
		return fmt.Errorf("forget PIN: %w", err)
	}
	return nil
}

// Tries asks how many wrong PINs the card still takes, 0 when it is blocked. It
// makes the card forget a PIN shown before: a card that remembers one answers
// 9000 instead of a count.
func (c *Card) Tries() (int, error) {
	if err := c.Forget(); err != nil {
		return 0, err
	}
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P2: c.reference})
	if err == nil && r.Status == apdu.ReferenceNotFound && c.reference == applicationPIN {
		c.reference = globalPIN
		return c.Tries()
	}
	if err != nil {
		return 0, fmt.Errorf("ask PIN tries: %w", err)
	}
	if n, ok := r.Status.Tries(); ok {
		return n, nil
	}
	switch r.Status {
	case apdu.Blocked, apdu.Invalidated:
		return 0, nil
	case apdu.OK, apdu.NotVerified, apdu.WrongLength, apdu.WrongData, apdu.NotSupported, apdu.WrongParameters:
		// How cards say that they don't answer this question.
		return pin.Unknown, nil
	}
	return 0, &apdu.StatusError{Act: "ask PIN tries", Status: r.Status}
}

// Verify shows the PIN to the card, once. Its copies are wiped, digits itself is the
// caller's to wipe. After any other error than Wrong and ErrBlocked it is not
// known whether a try was spent.
func (c *Card) Verify(digits []byte) error {
	if err := pin.Check(digits); err != nil {
		return err
	}
	block := [8]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	copy(block[:], digits)
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P2: c.reference, Data: block[:]})
	clear(block[:])
	if err != nil {
		return fmt.Errorf("verify PIN: %w", err)
	}
	return c.verdict(r.Status)
}

// VerifyBy has the reader's own keys fill in the PIN.
func (c *Card) VerifyBy(pad func([]byte) ([]byte, error)) error {
	cmd := []byte{0, 0x20, 0, c.reference, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	answer, err := pad(cmd)
	if err != nil {
		return fmt.Errorf("verify PIN at the reader: %w", err)
	}
	r, err := apdu.Parse(answer)
	if err != nil {
		return fmt.Errorf("verify PIN at the reader: %w", err)
	}
	return c.verdict(r.Status)
}

// verdict is what a card's answer to VERIFY means.
func (c *Card) verdict(said apdu.Status) error {
	if n, ok := said.Tries(); ok {
		if n == 0 {
			return pin.ErrBlocked
		}
		return &pin.Wrong{Left: n}
	}
	switch said {
	case apdu.OK:
		return nil
	case apdu.Blocked, apdu.Invalidated, apdu.WrongData, apdu.NotVerified:
		return c.refused(said)
	}
	return &apdu.StatusError{Act: "verify PIN", Status: said}
}

// refused finds out what a card meant that refused a PIN in good form and did not
// say how many tries are left: the question for them spends none. Some cards say
// 6A80 or 6300 of any wrong PIN, and some 6983 before they are blocked.
func (c *Card) refused(said apdu.Status) error {
	left, err := c.Tries()
	var status *apdu.StatusError
	if err != nil && !errors.As(err, &status) {
		return err
	}
	switch {
	case err == nil && left > 0:
		return &pin.Wrong{Left: left}
	case err == nil && left == 0, said == apdu.Blocked, said == apdu.Invalidated:
		return pin.ErrBlocked
	}
	return &pin.Wrong{Left: pin.Unknown}
}
