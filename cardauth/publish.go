package main

import (
	"time"

	"clinicgate/cardauth/consent"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/serve"
	"clinicgate/cardauth/session"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// A publisher writes cardauth.json. Its consumers take a session for live only
// while it is listed there.
type publisher struct {
	env  *daemon.Env
	keys *keyring
	// strict is the site's rule that reading wants care.
	strict   bool
	consents *consent.Book
	apps     *wire.Apps
	trust    func() wire.Trust
	gauge    func(*wire.Card)
}

// grain is how finely the time of the last proof is published: it moves four
// times a second, and each change wakes every consumer.
const grain = 10 * time.Second

func (p *publisher) publish(s presence.State) {
	card := p.card(s.Readers, s.Sessions)
	card.Care, card.ReadsNeedCare, card.Apps = care(s.Care), p.strict, p.apps
	if p.trust != nil {
		card.Trust = p.trust()
	}
	if p.consents != nil {
		card.Consents, card.ConsentsLost = p.consents.Wire(), p.consents.Lost()
	}
	if len(s.Sessions) > 0 {
		card.LeaseMS = lease(sinceBoot())
	}
	if p.gauge != nil {
		p.gauge(card)
	}
	if err := p.env.Publish(wire.CardFile, card); err != nil {
		p.env.Log.Error("publish", "err", err)
	}
}

// leaseFor is how long a publication with sessions in it holds at least, and
// leaseStep how often it is renewed: a cardauth that hangs is believed for that
// long after the other.
const (
	leaseFor  = 4 * time.Second
	leaseStep = time.Second
)

// lease is when a publication made now ends to hold, in milliseconds since boot.
func lease(now time.Duration) int64 {
	if now == 0 {
		return 0
	}
	return (now.Truncate(leaseStep) + leaseFor).Milliseconds()
}

func care(all []session.Care) (out []wire.Care) {
	for _, c := range all {
		w := wire.Care{ID: c.ID, Session: c.Session, Patient: c.Patient, Basis: string(c.Basis), Since: stamp(c.Since)}
		if !c.Until.IsZero() {
			until := stamp(c.Until)
			w.Until = &until
		}
		out = append(out, w)
	}
	return out
}

func (p *publisher) card(readers []session.Reader, sessions []session.Session) *wire.Card {
	out := &wire.Card{Readers: []wire.Reader{}, Sessions: []wire.Session{}, Keys: p.keys.signer.JWKS(time.Now()), KeyBy: p.keys.State()}
	since := map[string]time.Time{}
	for _, s := range sessions {
		since[s.Reader] = s.Since
		proven := s.Proven.Truncate(grain)
		if proven.Before(s.Since) {
			proven = s.Since
		}
		out.Sessions = append(out.Sessions, wire.Session{
			ID: s.ID, Role: s.Role, Subject: s.Subject, Room: s.Room,
			Since: stamp(s.Since), Presence: stamp(proven), CertHash: s.CertHash,
			Patient: s.Patient, PIN: s.PIN, Keys: s.Keys,
		})
	}
	for _, r := range readers {
		begun, live := since[r.Name]
		if !live {
			begun = r.Since
		}
		out.Readers = append(out.Readers, wire.Reader{Name: r.Name, Room: r.Room, State: serve.ReaderState(r, live), Since: stamp(begun)})
	}
	return out
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
