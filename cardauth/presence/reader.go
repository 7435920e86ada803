package presence

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/card"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
	"clinicgate/firmware/wire"
)

// How often a live card proves itself: as often as leaves it idle nine tenths of
// the time, within these bounds; and how long it may take over an answer. A quick
// card's session is over half a second after its last proof; a slow card's beats
// are further apart, and its removal is what pcscd sees first.
const (
	minBeat  = 200 * time.Millisecond
	maxBeat  = 2 * time.Second
	idle     = 10 // times as long idle as busy
	patience = 290 * time.Millisecond
	retry    = 2 * time.Second // between tries to take a card that won't be taken
	// After a card broke off pcscd is given time to see what is in the reader
	// now: it looks every 400 ms, and a card connected to and reset before
	// that may be lost to it.
	settle = 600 * time.Millisecond
)

// A reader owns one card reader. Everything below run happens in its goroutine.
type reader struct {
	c        *Clinic
	bus      Bus
	name     string
	patients bool // their cards' place, and nobody else's
	cancel   context.CancelFunc
	seen     chan pcsc.State // the latest only
	logins   chan *login
	signs    chan *signing
	outs     chan string // session ids to log out

	now      pcsc.State
	inserted time.Time // when somebody put in what is in
	link     *tracked  // nil while no card is held
	failures int       // to take the card, in a row
	who      *identity // what was read of the card that is held; nil: nothing
	card     *proofOf  // of the live session
	broke    time.Time // when a card broke off, zero once one was taken again
}

func newReader(c *Clinic, bus Bus, name string, cancel context.CancelFunc) *reader {
	return &reader{
		c: c, bus: bus, name: name, cancel: cancel,
		seen: make(chan pcsc.State, 1), logins: make(chan *login), signs: make(chan *signing), outs: make(chan string),
	}
}

// tell passes on what pcscd sees in the reader. It never blocks: what has not
// been looked at yet is replaced. One goroutine calls it.
func (r *reader) tell(s pcsc.State) {
	select {
	case <-r.seen:
	default:
	}
	r.seen <- s
}

func (r *reader) run(ctx context.Context) {
	beat := time.NewTimer(retry)
	defer beat.Stop()
	defer r.letGo()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-r.seen:
			r.look(s)
		case l := <-r.logins:
			l.done <- r.login(l)
		case q := <-r.signs:
			s, err := r.sign(q)
			q.done <- signed{s, err}
		case id := <-r.outs:
			r.logout(id)
		case <-beat.C:
			r.beat()
		}
		beat.Reset(r.pause())
	}
}

// pause is the time to the next beat.
func (r *reader) pause() time.Duration {
	switch {
	case !r.broke.IsZero():
		return max(0, settle-time.Since(r.broke))
	case r.card == nil:
		return retry
	}
	return r.link.between()
}

// look takes in what pcscd sees. A count of events that moved while a card was in
// means that it is not the same card any more, or not surely.
func (r *reader) look(s pcsc.State) {
	before := r.now
	r.now = s
	if s.Card && (!before.Card || s.Events != before.Events) {
		r.inserted = time.Now()
	}
	if !s.Card || s.Mute || before.Card && s.Events != before.Events {
		if s.Card && !s.Mute {
			r.over(session.CardChanged)
		}
		r.letGo()
	}
	if !s.Card {
		r.failures = 0
		r.clearFaults()
		r.set(session.Empty)
		return
	}
	r.take()
}

// clearFaults forgets what was wrong with the card that has left.
func (r *reader) clearFaults() {
	r.c.Faults.Clear(faultCard, "reader "+r.name)
	r.c.Faults.Clear(faultSameKey, "reader "+r.name)
}

// take holds the card, which resets it, so that a PIN shown to another program is
// forgotten before we use it and nobody else can use ours.
func (r *reader) take() {
	if r.link != nil || !r.now.Card || !r.broke.IsZero() && time.Since(r.broke) < settle {
		return
	}
	r.broke = time.Time{}
	var err error
	if r.now.Mute {
		err = errors.New("the card does not answer: is it in the right way round?")
	} else {
		var l Link
		if l, err = r.bus.Connect(r.name); err == nil {
			r.link, r.failures = &tracked{Link: l}, 0
			r.c.Faults.Clear(faultCard, "reader "+r.name)
			r.set(session.Card)
			if r.patients {
				r.greet()
			} else {
				r.meet()
			}
			return
		}
	}
	r.c.Log.Debug("card not taken", "reader", r.name, "err", err)
	if errors.Is(err, pcsc.ErrNoCard) { // it left; pcscd will say so
		r.set(session.Empty)
		return
	}
	// A card on its way in or out fails once; one that fails again is a fault.
	if r.failures++; r.failures > 1 || r.now.Mute {
		r.c.Faults.Raise(wire.Fault{
			ID: faultCard, Severity: wire.Warning, Where: "reader " + r.name, What: err.Error(),
			Do: "take the card out and put it in again; try another card, then another reader",
		})
	}
	r.set(session.Faulty)
}

func (r *reader) set(s session.State) {
	if s != session.Card {
		r.card = nil
	}
	r.c.do(func(m *session.Machine) []session.Event { return m.Set(time.Now(), r.name, s) })
}

// letGo resets the card and gives it up.
func (r *reader) letGo() {
	r.card, r.who = nil, nil
	if r.link != nil {
		if r.link.broken != nil {
			r.broke = time.Now()
		}
		r.link.Close()
		r.link = nil
	}
}

// over ends the reader's session.
func (r *reader) over(why session.Reason) {
	if r.card == nil {
		return
	}
	id := r.card.id
	r.card = nil
	r.c.do(func(m *session.Machine) []session.Event { return m.End(time.Now(), id, why) })
}

// beat has the live session's card prove its key once more. Whatever goes wrong
// ends the session for good: a reader may hand the next command to another card.
func (r *reader) beat() {
	if r.card == nil {
		r.take()
		return
	}
	err := r.prove(r.card, "presence")
	if r.card.unproven && r.card.use == proof.Authentication && wantsPIN(err) {
		err = r.byCardKey()
	}
	if err == nil {
		r.card.unproven = false
		lives := false
		r.c.do(func(m *session.Machine) []session.Event {
			now := time.Now()
			lives = m.Proved(now, r.link.due(now), r.card.id)
			return nil
		})
		if lives {
			return
		}
		// Too late, or the same card logged in elsewhere.
	}
	var status *apdu.StatusError
	why := session.CardLost
	if errors.Is(err, proof.ErrNotTheKey) || errors.As(err, &status) {
		why = session.CardChanged
	}
	if err != nil {
		r.c.Log.Info("proof of presence failed", "reader", r.name, "err", err)
	}
	if errors.Is(err, errNoPresence) {
		why = session.NoPresence
	}
	r.over(why)
	r.letGo()
	r.take()
	if why == session.NoPresence {
		r.c.Faults.Raise(wire.Fault{
			ID: faultCard, Severity: wire.Warning, Where: "reader " + r.name, What: err.Error(),
			Do: "this card can't keep a session; ask its issuer for one with a key and certificate for card authentication (PIV slot 9E)",
		})
	}
}

// settled waits until pcscd has had time to look at a reader whose card broke off.
func (r *reader) settled() {
	if !r.broke.IsZero() {
		time.Sleep(settle - time.Since(r.broke))
		r.broke = time.Time{}
	}
}

// prove has a card sign a challenge that has never been signed before.
func (r *reader) prove(p *proofOf, purpose string) error {
	nonce := make([]byte, proof.NonceSize)
	rand.Read(nonce)
	return r.link.prove(p, p.use, proof.Challenge{Purpose: purpose, Reader: r.name, Session: p.id, Nonce: nonce})
}

// logout makes the card of a session that is over forget its PIN.
func (r *reader) logout(id string) {
	if r.card == nil || r.card.id != id {
		return
	}
	// Not every reader passes the reset of letGo on to the card.
	if c, err := card.Select(r.link); err == nil {
		_ = c.Forget()
	}
	r.letGo()
	r.take()
}
