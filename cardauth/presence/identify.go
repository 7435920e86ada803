package presence

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"

	"clinicgate/cardauth/card"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/wire"
)

// An identity is what a held card said of itself, without any proof of it yet.
type identity struct {
	use  proof.Use
	card card.Card
	cert *x509.Certificate
}

// meet reads who a professional's card says it is as soon as it is held: its holder
// is still typing. What it reads wrong, the login will read again and say.
func (r *reader) meet() {
	who, err := r.ask(proof.Authentication)
	if err == nil {
		_, _ = r.c.judge(who.cert, r.patients) // the longest part of it is remembered
		return
	}
	if r.link.broken != nil {
		r.c.Log.Debug("card left while it was read", "reader", r.name, "err", err)
		r.letGo()
	}
}

// ask reads who the card says it is, by the key for that use, once for as long as
// the card is held: nobody else can have changed it, and if a card took its place
// unseen, that one has another key and proves nothing by it.
func (r *reader) ask(use proof.Use) (*identity, error) {
	if r.who != nil && r.who.use == use {
		return r.who, nil
	}
	c, err := card.Select(r.link)
	if err != nil {
		return nil, r.unreadable(err)
	}
	cert, err := c.Certificate(use)
	if err != nil {
		return nil, r.unreadable(err)
	}
	r.who = &identity{use, c, cert}
	return r.who, nil
}

// identify says whose card this is, by the key for that use, if that key is trusted
// now. Only then is the PIN worth a try.
func (r *reader) identify(use proof.Use) (*proofOf, trust.Holder, error) {
	var none trust.Holder
	who, err := r.ask(use)
	if err != nil {
		return nil, none, err
	}
	holder, err := r.c.judge(who.cert, r.patients)
	if err != nil {
		return nil, none, r.untrusted(err)
	}
	kind, err := proof.KindOf(who.cert.PublicKey)
	if err != nil {
		return nil, none, r.untrusted(err)
	}
	if err := r.sameKey(holder); err != nil {
		return nil, none, err
	}
	return &proofOf{newID(), who.card, who.cert.PublicKey, kind, use, who.cert, true}, holder, nil
}

// sameKey refuses a key that has proven itself for somebody else before: it proves
// nothing about who is here. The PIN is not worth a try either.
func (r *reader) sameKey(h trust.Holder) error {
	if r.c.Keys == nil {
		return nil
	}
	err := r.c.Keys.Check(h)
	if err == nil {
		return nil
	}
	r.c.Log.Warn("card is not trusted", "reader", r.name, "err", err)
	r.c.Faults.Raise(wire.Fault{
		ID: faultSameKey, Severity: wire.Alarm, Where: "reader " + r.name, What: err.Error(),
		Do: "keep the card, and ask whoever issued it to look at both: one of them is a copy, or the maker's keys can be guessed; all its cards may be",
	})
	r.c.Republish()
	return refuse(session.Untrusted, "this card has the key of another person's card; it proves nothing, ask whoever issued it")
}

// proven notes whose key this is from now on.
func (r *reader) proven(h trust.Holder) {
	if r.c.Keys != nil {
		r.c.Keys.Remember(h)
	}
}

// judge asks whose card a certificate belongs to. A reader for patients takes
// theirs only, and no other reader does.
func (c *Clinic) judge(cert *x509.Certificate, patients bool) (trust.Holder, error) {
	if patients {
		return c.Patient(cert, time.Now())
	}
	return c.Holder(cert, time.Now())
}

func (r *reader) unreadable(err error) error {
	if r.link.broken == nil {
		r.c.Log.Info("card is of no use", "reader", r.name, "err", err)
	}
	return refuse(session.NotACard, "this is not a professional's card, or it has not been issued yet")
}

// untrusted says why in the words of whoever must act. A Refusal passes through.
func (r *reader) untrusted(err error) error {
	var refusal *session.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	r.c.Log.Info("card is not trusted", "reader", r.name, "err", err)
	detail := "this card's certificate is not accepted here; ask whoever issued it"
	switch {
	case errors.Is(err, trust.ErrIssuer):
		detail = "the authority that issued this card is not trusted by this clinic"
	case errors.Is(err, trust.ErrValidity):
		detail = "the card's certificate has expired or is not valid yet; if the card is new, check the gateway's clock"
	case errors.Is(err, trust.ErrRevoked):
		detail = "this card has been revoked; its holder gets another from whoever issued it"
	case errors.Is(err, trust.ErrRole):
		detail = "the card's holder has no role in this clinic"
	}
	return refuse(session.Untrusted, detail)
}

// mayTry says whether a PIN may be shown now: not while the card is slowed down,
// not when it is blocked, and its last try only when the holder says so.
func (r *reader) mayTry(card card.PIN, h trust.Holder, confirmed bool) error {
	var wait time.Duration
	r.c.note(func(m *session.Machine) { wait = m.Wait(time.Now(), h.Key) })
	if wait > 0 {
		ref := refuse(session.SlowDown, "wrong PIN a moment ago; wait before the next try")
		ref.Wait = wait
		return ref
	}
	left, err := card.Tries()
	switch {
	case err != nil:
		return refuse(session.Failed, "the card does not say how many PIN tries are left")
	case left == 0:
		return refuse(session.Blocked, "the PIN of this card is blocked; only the card's PUK or its issuer can help")
	case left <= 1: // 1, or a card that won't say
		return r.lastTry(h, left, confirmed)
	}
	return nil
}

// lastTry lets a card's last try be spent when its holder confirmed it by hand:
// the workstation's word alone would let a program block cards.
func (r *reader) lastTry(h trust.Holder, left int, confirmed bool) error {
	may := false
	r.c.note(func(m *session.Machine) {
		if may = confirmed && m.MaySpendLast(h.Key, r.inserted); !may {
			m.Told(time.Now(), h.Key)
		}
	})
	if may {
		return nil
	}
	ref := refuse(session.LastTry, "one more wrong PIN blocks the card; to try all the same take the card out, put it in again and confirm")
	ref.Tries = max(left, 0)
	return ref
}

// verify shows the PIN, once, and wipes it. At a reader that keeps the PIN to
// itself it is typed there.
func (r *reader) verify(card card.PIN, h trust.Holder, l *login) error {
	var err error
	if k, remote := r.link.keeper(); remote {
		err = r.link.showPIN(k, l.Question)
	} else {
		err = card.Verify(l.PIN)
	}
	clear(l.PIN)
	var wrong *pin.Wrong
	switch {
	case err == nil:
		r.c.note(func(m *session.Machine) { m.Right(h.Key) })
		return nil
	case errors.Is(err, ErrDeclined):
		return refuse(session.NoPIN, "no PIN was typed at the reader; the card was not asked")
	case errors.As(err, &wrong):
		r.wrong(h)
		ref := refuse(session.WrongPIN, wrong.Error())
		ref.Tries = max(wrong.Left, 0)
		return ref
	case errors.Is(err, pin.ErrBlocked):
		r.wrong(h)
		return refuse(session.Blocked, "the PIN of this card is blocked; only the card's PUK or its issuer can help")
	case errors.Is(err, pin.ErrForm):
		return refuse(session.BadPIN, "the PIN has 6 to 8 digits; the card was not asked")
	}
	r.c.Log.Info("PIN not verified", "reader", r.name, "err", err)
	return refuse(session.Failed, "the card did not take the PIN; it may have counted as a try")
}

// refusedPIN reports that a card, or its holder, answered about a PIN.
func refusedPIN(err error) bool {
	var wrong *pin.Wrong
	return errors.As(err, &wrong) || errors.Is(err, pin.ErrBlocked) || errors.Is(err, pin.ErrForm)
}

func (r *reader) wrong(h trust.Holder) {
	r.c.note(func(m *session.Machine) { m.Wrong(time.Now(), h.Key) })
}

// newID makes a session's name; whoever guesses it gains nothing, but shouldn't.
func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return "s-" + hex.EncodeToString(b[:])
}
