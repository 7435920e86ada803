//go:build cgo || windows

package pcsc

import (
	"errors"
	"fmt"
	"time"

	"github.com/ebfe/scard"

	"clinicgate/cardauth/apdu"
)

// A Card is a card we hold. It belongs to one goroutine and has a context, and so
// a connection to pcscd, of its own: PC/SC serialises the calls of a context, and
// a card that hangs must hold up nobody else.
type Card struct {
	ctx    *scard.Context
	card   handle
	broken bool
}

// A handle is what PC/SC gives for a card; *scard.Card is one.
type handle interface {
	Transmit([]byte) ([]byte, error)
	Control(code uint32, in []byte) ([]byte, error)
	ActiveProtocol() scard.Protocol
	Reconnect(scard.ShareMode, scard.Protocol, scard.Disposition) error
	Disconnect(scard.Disposition) error
}

// Connect takes the card in a reader, with nobody else allowed, and resets it: a
// program that died may have left a PIN shown.
func Connect(reader string) (*Card, error) {
	ctx, err := scard.EstablishContext()
	if err != nil {
		return nil, explain("connect", err)
	}
	card, err := ctx.Connect(reader, scard.ShareExclusive, scard.ProtocolAny)
	if err == nil {
		c := &Card{ctx: ctx, card: card}
		err = c.take()
		if err == nil {
			return c, nil
		}
		_ = card.Disconnect(scard.UnpowerCard)
	}
	_ = ctx.Release()
	return nil, explain("connect to card", err)
}

func (c *Card) take() error {
	if err := c.card.Reconnect(scard.ShareExclusive, scard.ProtocolAny, scard.ResetCard); err != nil {
		return err
	}
	// scard panics on other protocols.
	if p := c.card.ActiveProtocol(); p != scard.ProtocolT0 && p != scard.ProtocolT1 {
		return fmt.Errorf("card speaks protocol %d, want T=0 or T=1", p)
	}
	return nil
}

// Transmit sends one command. An error means that the card is lost: after a fast
// swap the next call may reach another card, so there must be no next call.
func (c *Card) Transmit(cmd []byte) ([]byte, error) {
	if len(cmd) == 0 { // scard would panic
		return nil, errors.New("transmit: empty command")
	}
	if c.card.ActiveProtocol() == scard.ProtocolT0 {
		cmd = apdu.ForT0(cmd)
	}
	resp, err := c.card.Transmit(cmd)
	if err != nil {
		c.broken = true
		return nil, explain("transmit", err)
	}
	return resp, nil
}

// Close resets the card and lets it go. A card that broke off is left as it is,
// for Connect to reset: when pcscd 1.9.9 fails to reset a card on letting it go,
// it takes the reader for empty, and if another card came in inside its poll it
// goes on doing so until that is taken out. With the card or pcscd away there is
// nothing to reset, so errors mean nothing.
func (c *Card) Close() {
	end := scard.ResetCard
	if c.broken {
		end = scard.LeaveCard
	}
	_ = c.card.Disconnect(end)
	_ = c.ctx.Release()
}

// explain sorts PC/SC's errors for those who branch on them.
func explain(act string, err error) error {
	if err == nil {
		return nil
	}
	var code scard.Error
	if !errors.As(err, &code) {
		return fmt.Errorf("%s: %w", act, err)
	}
	switch code {
	case scard.ErrNoService, scard.ErrServiceStopped, scard.ErrCommError, scard.ErrInvalidHandle,
		scard.ErrSecurityViolation: // a killed pcscd's socket makes libpcsclite say so, now and then
		return fmt.Errorf("%s: %w (%v)", act, ErrService, code)
	case scard.ErrNoSmartcard, scard.ErrRemovedCard:
		return fmt.Errorf("%s: %w (%v)", act, ErrNoCard, code)
	case scard.ErrSharingViolation:
		return fmt.Errorf("%s: %w (%v)", act, ErrInUse, code)
	}
	return fmt.Errorf("%s: %w", act, code)
}

// glance is how long the watcher waits at most before it looks again by itself:
// SCardCancel races with timeouts in pcsc-lite, so nothing is ever cancelled.
const glance = time.Second
