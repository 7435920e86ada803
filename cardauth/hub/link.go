package hub

import (
	"errors"
	"fmt"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/proof"
)

// How long a workstation may take.
const (
	quick  = 3 * time.Second  // for one command
	typing = 65 * time.Second // for somebody to type a PIN
)

// A link is a card in a workstation's reader.
type link struct {
	line   *line
	reader string
}

// Transmit passes a command on; the workstation refuses those a gateway has no
// business with.
func (l *link) Transmit(cmd []byte) ([]byte, error) {
	a, err := l.line.ask(frame.Request{Do: frame.Transmit, Command: cmd}, quick)
	if err != nil {
		return nil, explain(err)
	}
	return a.Data, nil
}

// Close has the workstation let the card go.
func (l *link) Close() {
	_, _ = l.line.ask(frame.Request{Do: frame.Close}, quick) // it does so by itself when the line breaks
}

// End is the workstation.
func (l *link) End() presence.End { return presence.End{Addr: l.line.addr, Channel: l.line.channel} }

// ShowPIN has the PIN typed at the workstation.
func (l *link) ShowPIN(question string) error {
	_, err := l.line.ask(frame.Request{Do: frame.PIN, Question: question}, typing)
	return explain(err)
}

// Prove has the card sign the challenge as the workstation sees it.
func (l *link) Prove(use proof.Use, kind proof.Kind, c proof.Challenge) (presence.Signed, error) {
	a, err := l.line.ask(frame.Request{Do: frame.Prove, Proof: &frame.Proof{
		Use: byte(use), Kind: byte(kind), Purpose: c.Purpose, Session: c.Session, About: c.About, Nonce: c.Nonce,
	}}, quick)
	if err != nil {
		return presence.Signed{}, explain(err)
	}
	return presence.Signed{Signature: a.Data, Took: time.Duration(a.Took) * time.Microsecond}, nil
}

// explain turns a workstation's failure into the error a reader of our own would
// have given.
func explain(err error) error {
	var f *frame.Failure
	if !errors.As(err, &f) {
		return err
	}
	switch f.Kind {
	case frame.WrongPIN:
		return &pin.Wrong{Left: f.Left}
	case frame.Blocked:
		return pin.ErrBlocked
	case frame.BadPIN:
		return pin.ErrForm
	case frame.Declined:
		return presence.ErrDeclined
	case frame.Status:
		return &apdu.StatusError{Act: "workstation's card", Status: apdu.Status(f.Status)}
	case frame.NoCard:
		return fmt.Errorf("%w (%v)", pcsc.ErrNoCard, f)
	case frame.InUse:
		return fmt.Errorf("%w (%v)", pcsc.ErrInUse, f)
	}
	return f
}
