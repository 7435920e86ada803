package presence

import (
	"errors"
	"fmt"
	"time"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/proof"
)

// errNoPresence is a card that nothing can ask for proof without its PIN.
var errNoPresence = errors.New("the card wants its PIN for each signature and has no key of its own for presence")

// wantsPIN says whether a card answered that the PIN must be shown first.
func wantsPIN(err error) bool {
	var status *apdu.StatusError
	return errors.As(err, &status) && status.Status == apdu.NotSatisfied
}

// byCardKey goes on with the card's key for presence where the one of the login
// wants the PIN each time. It is for the first proof after a login only: later on
// the same answer means that the card was reset, so that the PIN it was shown
// counts no more. The key must be the same holder's, and is pinned from here.
func (r *reader) byCardKey() error {
	live, ok := r.c.Live(r.card.id)
	if !ok {
		return nil // Proved will say that it is over
	}
	cert, err := r.card.card.Certificate(proof.Presence)
	if err != nil {
		if r.link.broken != nil {
			return err
		}
		return fmt.Errorf("%w: %w", errNoPresence, err)
	}
	judge := r.c.Present
	if r.patients {
		judge = r.c.Patient
	}
	holder, err := judge(cert, time.Now())
	if err == nil && holder.Registration != live.Number {
		err = errors.New("it is somebody else's")
	}
	if err == nil {
		err = r.sameKey(holder)
	}
	var kind proof.Kind
	if err == nil {
		kind, err = proof.KindOf(cert.PublicKey)
	}
	if err != nil {
		return fmt.Errorf("%w that is good: %w", errNoPresence, err)
	}
	p := &proofOf{id: r.card.id, card: r.card.card, key: cert.PublicKey, kind: kind, use: proof.Presence, cert: cert}
	if err := r.prove(p, "presence"); err != nil {
		return err
	}
	r.proven(holder)
	r.card = p
	return nil
}
