package presence

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
)

// A Request is a statement for the card of a live session to sign, with its key
// for that and the PIN once more. Nobody signs by leaving the card in.
type Request struct {
	Session   string
	Purpose   string // a word of its own for each kind of statement
	Statement []byte
	PIN       []byte // whoever is given the request wipes it; empty where it is typed at the reader
	Question  string // shown there
}

// A Signature is what came of it: who has the certificate and the statement can
// check it without us.
type Signature struct {
	Message     []byte // what the key signed: proof.Challenge with the statement's SHA-256
	Signature   []byte
	Certificate *x509.Certificate
}

type signing struct {
	Request
	done chan signed // buffered: the caller may be gone
}

type signed struct {
	s   Signature
	err error
}

// Sign has the session's card sign a statement. It sends at most one VERIFY; a
// wrong PIN ends the session, as the card forgets the right one. A refusal is a
// *session.Refusal.
func (c *Clinic) Sign(ctx context.Context, q Request) (Signature, error) {
	live, ok := c.Live(q.Session)
	r := c.named(live.Reader)
	if !ok || r == nil {
		clear(q.PIN)
		return Signature{}, refuse(session.NoSession, "the session is over; log in again")
	}
	wait := answer
	if c.atReader(seat{live.Room, live.Patient != ""}) {
		clear(q.PIN)
		q.PIN, wait = nil, typing
	} else if pin.Check(q.PIN) != nil {
		clear(q.PIN)
		return Signature{}, refuse(session.BadPIN, "the PIN has 6 to 8 digits; the card was not asked")
	}
	job := &signing{Request: q, done: make(chan signed, 1)}
	select {
	case r.signs <- job:
	case <-time.After(queue):
		clear(q.PIN)
		return Signature{}, refuse(session.Busy, "the card reader is busy; try again in a moment")
	case <-ctx.Done():
		clear(q.PIN)
		return Signature{}, ctx.Err()
	}
	select {
	case res := <-job.done:
		return res.s, res.err
	case <-time.After(wait):
		return Signature{}, refuse(session.Failed, "the card does not answer; take it out and put it in again")
	}
}

// sign runs in the reader's goroutine.
func (r *reader) sign(q *signing) (Signature, error) {
	defer clear(q.PIN)
	if r.card == nil || r.card.id != q.Session || r.link == nil {
		return Signature{}, refuse(session.NoSession, "the session is over; log in again")
	}
	live, ok := r.c.Live(q.Session)
	if !ok {
		return Signature{}, refuse(session.NoSession, "the session is over; log in again")
	}
	s, err := r.statement(q, live)
	if broken := r.link.broken; broken != nil {
		r.c.Log.Info("signing broke off", "reader", r.name, "err", broken)
		r.over(session.CardLost)
		r.letGo()
		return Signature{}, refuse(session.Failed, "the card was taken out or does not answer; put it in again")
	}
	var no *session.Refusal
	if errors.As(err, &no) && (no.Kind == session.WrongPIN || no.Kind == session.Blocked) {
		r.over(session.WrongPINGiven)
	}
	return s, err
}

// statement asks the card, the PIN right before the signature: the key wants it so.
func (r *reader) statement(q *signing, live session.Session) (Signature, error) {
	var none Signature
	cert, err := r.card.card.Certificate(proof.Signature)
	if err != nil {
		return none, refuse(session.Unsigned, "the card has no key for signing; the issuer can help")
	}
	holder, err := r.c.Signer(cert, time.Now())
	if err != nil || holder.Registration != live.Number {
		r.c.Log.Info("signing key is not trusted", "reader", r.name, "err", err)
		return none, refuse(session.Unsigned, "the card's key for signing is not accepted here; ask whoever issued it")
	}
	kind, err := proof.KindOf(cert.PublicKey)
	if err != nil {
		return none, refuse(session.Unsigned, "the card's key for signing is of no kind we know")
	}
	if err := r.sameKey(holder); err != nil {
		return none, err
	}
	its := holder
	holder.Key = live.Card // PIN tries are counted for the card, not for each key
	l := &login{Login: session.Login{PIN: q.PIN, Question: q.Question}}
	if err := r.verify(r.card.card, holder, l); err != nil {
		return none, err
	}
	about := sha256.Sum256(q.Statement)
	nonce := make([]byte, proof.NonceSize)
	rand.Read(nonce)
	c := proof.Challenge{Purpose: q.Purpose, Reader: r.name, Session: q.Session, About: about[:], Nonce: nonce}
	key := &proofOf{id: q.Session, card: r.card.card, key: cert.PublicKey, kind: kind, use: proof.Signature, cert: cert}
	sig, _, err := r.link.sign(key, proof.Signature, &c)
	if err == nil {
		err = proof.Check(cert.PublicKey, c.Message(), sig)
	}
	if err != nil {
		return none, refuse(session.Unsigned, fmt.Sprintf("the card did not sign: %v", err))
	}
	r.proven(its)
	return Signature{c.Message(), sig, cert}, nil
}

// MayBreak says why a session may not break the glass now, or nil.
func (c *Clinic) MayBreak(sid string) *session.Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.MayBreak(time.Now(), sid)
}

// Break opens a patient's record to a session whose card has signed for it.
func (c *Clinic) Break(sid, number string) (session.Care, bool) {
	patient := c.Pseudonym(number)
	events := c.do(func(m *session.Machine) []session.Event { return m.Break(time.Now(), sid, patient, number) })
	if len(events) == 0 {
		return session.Care{}, false
	}
	return *events[len(events)-1].Care, true
}

// CloseCare ends care early, for a session of either side. It reports whether it
// was there and that session's to end.
func (c *Clinic) CloseCare(id, sid string) bool {
	return len(c.do(func(m *session.Machine) []session.Event { return m.Close(id, sid) })) > 0
}

// Care returns the care of a doctor's session, or for the patient of a patient's.
func (c *Clinic) Care(of session.Session) []session.Care {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []session.Care
	for _, x := range c.machine.Care() {
		if x.Session == of.ID || of.PIN && x.Patient == of.Patient {
			all = append(all, x)
		}
	}
	return all
}

// Emergencies is how many emergencies were declared in the last 24 hours.
func (c *Clinic) Emergencies() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.Emergencies(time.Now(), "")
}
