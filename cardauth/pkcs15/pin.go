package pkcs15

import (
	"fmt"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
)

// its is the PIN that goes with the key for authentication.
func (c *Card) its() (*pinObject, error) {
	k, err := c.keyFor(proof.Authentication)
	if err != nil {
		return nil, err
	}
	for i := range c.pins {
		if p := &c.pins[i]; string(p.id) == string(k.auth) {
			if p.stored < pin.Longest || p.stored > 15 {
				return nil, fmt.Errorf("%w: a PIN stored in %d bytes, want %d to 15", errFile, p.stored, pin.Longest)
			}
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: the key's PIN is not listed", errFile)
}

// Forget makes the card forget a PIN; a card without that command is reset for it.
func (c *Card) Forget() error {
	p, err := c.its()
	if err != nil {
		return err
	}
	_, err = apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P1: 0xFF, P2: p.reference})
	return err
}

// Tries asks how many wrong PINs the card still takes.
func (c *Card) Tries() (int, error) {
	p, err := c.its()
	if err != nil {
		return 0, err
	}
	if err := c.Forget(); err != nil {
		return 0, err
	}
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P2: p.reference})
	if err != nil {
		return 0, fmt.Errorf("ask PIN tries: %w", err)
	}
	if n, ok := r.Status.Tries(); ok {
		return n, nil
	}
	if r.Status == apdu.Blocked {
		return 0, nil
	}
	return pin.Unknown, nil
}

// Verify shows the PIN, once. Its copies are wiped, digits itself is the caller's
// to wipe.
func (c *Card) Verify(digits []byte) error {
	if err := pin.Check(digits); err != nil {
		return err
	}
	p, err := c.its()
	if err != nil {
		return err
	}
	block := p.fill()
	copy(block, digits)
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x20, P2: p.reference, Data: block})
	clear(block)
	if err != nil {
		return fmt.Errorf("verify PIN: %w", err)
	}
	return verdict(r.Status)
}

// VerifyBy has the reader's own keys fill in the PIN.
func (c *Card) VerifyBy(pad func([]byte) ([]byte, error)) error {
	p, err := c.its()
	if err != nil {
		return err
	}
	block := p.fill()
	answer, err := pad(append([]byte{0, 0x20, 0, p.reference, byte(len(block))}, block...))
	if err != nil {
		return fmt.Errorf("verify PIN at the reader: %w", err)
	}
	r, err := apdu.Parse(answer)
	if err != nil {
		return fmt.Errorf("verify PIN at the reader: %w", err)
	}
	return verdict(r.Status)
}

// fill is a PIN's block without the PIN.
func (p *pinObject) fill() []byte {
	block := make([]byte, p.stored)
	for i := range block {
		block[i] = p.pad
	}
	return block
}

// verdict is what a card's answer to VERIFY means.
func verdict(said apdu.Status) error {
	if n, ok := said.Tries(); ok && n > 0 {
		return &pin.Wrong{Left: n}
	} else if ok || said == apdu.Blocked {
		return pin.ErrBlocked
	}
	if said == apdu.OK {
		return nil
	}
	return &apdu.StatusError{Act: "verify PIN", Status: said}
}
