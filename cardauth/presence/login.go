package presence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"clinicgate/cardauth/card"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
)

type login struct {
	session.Login
	shown bool        // the PIN went to a card
	done  chan result // buffered: the caller may be gone
}

type result struct {
	s   session.Session
	err error
}

const (
	queue  = 2 * time.Second  // for the reader to take a login
	answer = 20 * time.Second // for the card to get through it
	typing = 75 * time.Second // the same where the PIN is still to be typed
)

// Login shows a PIN to the card in a room and opens a session. It sends at most
// one VERIFY. A refusal is a *session.Refusal.
func (c *Clinic) Login(ctx context.Context, in session.Login) (session.Session, error) {
	wait := answer
	at := seat{in.Room, in.Patient}
	if c.atReader(at) {
		if len(in.PIN) > 0 {
			clear(in.PIN)
			return session.Session{}, refuse(session.PINAtReader, "the PIN of this room is typed at its reader; the one sent here was not used")
		}
		wait = typing
	} else if err := pin.Check(in.PIN); err != nil {
		clear(in.PIN)
		return session.Session{}, refuse(session.BadPIN, "the PIN has 6 to 8 digits; the card was not asked")
	}
	r := c.at(at)
	if r == nil {
		clear(in.PIN)
		return session.Session{}, c.noReader(at)
	}
	l := &login{Login: in, done: make(chan result, 1)}
	select {
	case r.logins <- l: // from here the reader wipes the PIN
	case <-time.After(queue):
		clear(in.PIN)
		return session.Session{}, refuse(session.Busy, "the card reader is busy; try again in a moment")
	case <-ctx.Done():
		clear(in.PIN)
		return session.Session{}, ctx.Err()
	}
	select {
	case res := <-l.done:
		return res.s, res.err
	case <-time.After(wait):
		return session.Session{}, refuse(session.Failed, "the card does not answer; take it out and put it in again")
	}
}

// AtReader reports whether the PIN of a room is typed at its reader, and never sent
// here.
func (c *Clinic) AtReader(room string) bool { return c.atReader(seat{room, false}) }

func (c *Clinic) atReader(s seat) bool {
	for _, conf := range c.Readers {
		if seatOf(conf) == s {
			return conf.Agent
		}
	}
	return false
}

func (c *Clinic) noReader(s seat) error {
	for _, conf := range c.Readers {
		if seatOf(conf) == s {
			return refuse(session.NoReader, "the card reader of this room is not connected; plug it in or tell the technician")
		}
	}
	if s.patients {
		return refuse(session.NoReader, fmt.Sprintf("no card reader for patients is set up for room %q", s.room))
	}
	return refuse(session.NoReader, fmt.Sprintf("no card reader is set up for room %q", s.room))
}

// Logout ends a session and has its card forget the PIN. It reports whether the
// session lived.
func (c *Clinic) Logout(id string) bool {
	ended := c.do(func(m *session.Machine) []session.Event { return m.End(time.Now(), id, session.LoggedOut) })
	if len(ended) == 0 {
		return false
	}
	if r := c.named(ended[0].Session.Reader); r != nil {
		select {
		case r.outs <- id:
		case <-time.After(queue): // it hangs; its next beat finds the session over
		}
	}
	return true
}

// named returns the reader of that PC/SC name.
func (c *Clinic) named(name string) *reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.readers {
		if r.name == name {
			return r
		}
	}
	return nil
}

func refuse(k session.Kind, detail string) *session.Refusal {
	return &session.Refusal{Kind: k, Detail: detail}
}

// login runs in the reader's goroutine.
func (r *reader) login(l *login) result {
	defer clear(l.PIN)
	if !r.now.Card {
		return result{err: refuse(session.NoCard, "put your card into the reader")}
	}
	if live, ok := r.live(); ok && live.PIN && live.CertHash != l.CertHash {
		return result{err: refuse(session.InUse, "a session is open here from another workstation; to end it take the card out")}
	}
	met := r.who != nil
	s, p, err := r.attempt(l)
	if err != nil && !l.shown && (r.link == nil || met && r.who == nil) {
		// A card changed too fast for pcscd to notice breaks off at the first
		// command, or knows nothing of it; no PIN was shown, so the one that is
		// in now gets its turn.
		s, p, err = r.attempt(l)
	}
	if err != nil {
		if r.link != nil {
			r.refused(err)
		}
		return result{err: err}
	}
	now := time.Now()
	s.Due = r.link.due(now)
	r.c.do(func(m *session.Machine) []session.Event { return m.Open(now, s) })
	opened, lives := r.c.Live(s.ID)
	if !lives { // detached meanwhile
		return result{err: refuse(session.NoReader, "the card reader was unplugged")}
	}
	r.card = p
	return result{s: opened}
}

// attempt asks the card once. Without a link after it the card broke off.
func (r *reader) attempt(l *login) (session.Session, *proofOf, error) {
	var none session.Session
	r.settled()
	if r.take(); r.link == nil {
		return none, nil, refuse(session.Failed, "the card can't be read; take it out and put it in again")
	}
	s, p, err := r.admit(l)
	if broken := r.link.broken; broken != nil {
		r.c.Log.Info("login broke off", "reader", r.name, "err", broken)
		r.over(session.CardLost)
		r.letGo()
		return none, nil, refuse(session.Failed, "the card was taken out or does not answer; put it in again")
	}
	return s, p, err
}

// live returns the session of this reader. From another workstation nobody may
// disturb it, nor spend PIN tries of the card in use.
func (r *reader) live() (session.Session, bool) {
	if r.card == nil {
		return session.Session{}, false
	}
	return r.c.Live(r.card.id)
}

// refused ends what the login disturbed: a session at this reader had its PIN
// state dropped when the tries were asked for, so it is over.
func (r *reader) refused(err error) {
	r.c.Log.Info("login refused", "reader", r.name, "why", string(kindOf(err)))
	r.over(session.Replaced)
	if c, err := card.Select(r.link); err == nil {
		_ = c.Forget() // a PIN may have been right on a card that was refused after it
	}
	if r.patients && r.link.broken == nil {
		r.greet() // a patient who mistypes is there all the same
	}
}

// kindOf is the kind of a refusal.
func kindOf(err error) session.Kind {
	var refusal *session.Refusal
	if errors.As(err, &refusal) {
		return refusal.Kind
	}
	return "error"
}

// admit asks the card everything, in the order that spends a PIN try last.
func (r *reader) admit(l *login) (_ session.Session, _ *proofOf, err error) {
	var none session.Session
	p, holder, err := r.identify(proof.Authentication)
	if err != nil {
		return none, nil, err
	}
	defer func() { // for the trace
		var no *session.Refusal
		if errors.As(err, &no) {
			no.Who = r.session(p, holder).Subject
			if r.patients {
				no.Who = holder.Registration
			}
		}
	}()
	if k, remote := r.link.keeper(); remote && k.End().Addr != l.From {
		// Else somebody in another room could have this one's doctor type the
		// PIN for a session of his own.
		return none, nil, refuse(session.Elsewhere, "the PIN of this room is typed at its own workstation: log in there")
	}
	if err := r.mayTry(p.card, holder, l.LastTry); err != nil {
		if kindOf(err) == session.Failed {
			r.who = nil // it does not answer as the card did that was read
		}
		return none, nil, err
	}
	l.shown = true
	if err := r.verify(p.card, holder, l); err != nil {
		return none, nil, err
	}
	if err := r.prove(p, "login"); err != nil {
		r.who = nil
		return none, nil, refuse(session.Untrusted, "the card could not prove the key of its certificate; it may be a copy")
	}
	r.proven(holder)
	s := r.session(p, holder)
	s.CertHash, s.Device, s.PIN = l.CertHash, l.Device, true
	return s, p, nil
}

// session is the holder's, without a PIN and a workstation so far.
func (r *reader) session(p *proofOf, h trust.Holder) session.Session {
	s := session.Session{ID: p.id, Role: h.Role, Reader: r.name, Card: h.Key, Cert: p.cert, Number: h.Registration, Subject: "Practitioner/" + h.Registration}
	if r.patients {
		s.Patient = r.c.Pseudonym(h.Registration)
		s.Subject = "patient:" + s.Patient
	}
	return s
}
