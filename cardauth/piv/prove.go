package piv

import (
	"fmt"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/proof"
)

// Sign has the key of that use, which is of that kind, sign a message. Whether the
// signature is any good is the caller's to check.
func (c *Card) Sign(use proof.Use, kind proof.Kind, message []byte) ([]byte, error) {
	slot, err := slotOf(use)
	if err != nil {
		return nil, err
	}
	act := fmt.Sprintf("sign with key %X", byte(slot))
	block, err := kind.Block(message)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	body := encode(0x7C, append([]byte{0x82, 0}, encode(0x81, block)...))
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x87, P1: byte(kind), P2: byte(slot), Data: body, Ne: 256})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	if r.Status != apdu.OK {
		return nil, &apdu.StatusError{Act: act, Status: r.Status}
	}
	template, err := find(r.Data, 0x7C)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	sig, err := find(template, 0x82)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return sig, nil
}
