// Package session decides which sessions live: a session is a card in a reader
// whose key proves itself again and again, and nothing outlives the card. It
// holds no clock and touches no card: events and times come in, decisions go out.
package session

import (
	"cmp"
	"crypto/x509"
	"slices"
	"time"
)

// Reason says why a session ended.
type Reason string

// Reasons for the end of a session.
const (
	CardOut       Reason = "card-out"     // the reader saw it leave
	CardChanged   Reason = "card-changed" // another key answers in its place
	CardLost      Reason = "card-lost"    // the reader can't reach it any more
	CardSilent    Reason = "card-silent"  // no proof in time
	LoggedOut     Reason = "logged-out"
	Replaced      Reason = "replaced"    // someone logged in at the same reader
	Roamed        Reason = "roamed"      // the same card logged in elsewhere
	ReaderGone    Reason = "reader-gone" // unplugged, or pcscd died
	Stopped       Reason = "stopped"     // cardauth ends
	WrongPINGiven Reason = "wrong-pin"   // to sign: the card forgot the right one
	Distrusted    Reason = "distrusted"  // its card was revoked, or nobody vouches for it any more
	NoPresence    Reason = "no-presence" // the card can't prove itself without the PIN each time
)

// A Session is a live card.
type Session struct {
	ID       string
	Role     string
	Subject  string
	Reader   string   // PC/SC name
	Room     string   // of the reader
	Card     [32]byte // hash of the card's public key
	Cert     *x509.Certificate
	Patient  string   // pseudonym, of a patient's session
	Number   string   // in the register, of whoever it is; a patient's leaves this program only to the patient and to the audit
	PIN      bool     // the holder showed the PIN; without it the card is only present
	CertHash string   // workstation certificate the tokens are bound to
	Device   string   // what that certificate calls it
	Keys     []string // what else tokens may be bound to, "jkt:…" or "addr:…"
	Since    time.Time
	Proven   time.Time // when the card's key last proved itself
	Due      time.Time // when it must have done so again
}

// State of a reader.
type State int

// The states a reader can be in. Whether a session is live is the session's.
const (
	Empty  State = iota
	Card         // a card is in
	Faulty       // a card is in that can't be talked to
)

// A Reader is one card reader of a room.
type Reader struct {
	Name     string
	Room     string
	Patients bool // it is for patients' cards
	State    State
	Since    time.Time // of the state
}

// An Event is a session, or a care context when that is given, that began or
// ended.
type Event struct {
	Session Session
	Care    *Care
	Ended   Reason // empty: it began
}

// A Machine holds the readers and sessions of one box. It belongs to one
// goroutine at a time.
type Machine struct {
	readers  map[string]*Reader
	sessions map[string]*Session
	wrong    map[[32]byte]attempts
	ward
}

// New returns a machine without readers.
func New(rules Rules) *Machine {
	return &Machine{map[string]*Reader{}, map[string]*Session{}, map[[32]byte]attempts{}, newWard(rules)}
}

// Attach tells of a reader. It is empty until a card is seen in it.
func (m *Machine) Attach(now time.Time, name, room string, patients bool) {
	if m.readers[name] == nil {
		m.readers[name] = &Reader{name, room, patients, Empty, now}
	}
}

// Detach tells that a reader is gone.
func (m *Machine) Detach(now time.Time, name string) []Event {
	delete(m.readers, name)
	return m.settle(now, m.endAt(name, ReaderGone))
}

// Set tells what is seen in a reader. A session lives only with a good card in it.
func (m *Machine) Set(now time.Time, name string, s State) []Event {
	r := m.readers[name]
	if r == nil {
		return nil
	}
	if r.State != s {
		r.State, r.Since = s, now
	}
	switch s {
	case Empty:
		return m.settle(now, m.endAt(name, CardOut))
	case Faulty:
		return m.settle(now, m.endAt(name, CardLost))
	}
	return nil
}

// Open begins a session in a reader that has a card; s.Reader and s.Card say
// which, s.Due until when the next proof is expected. A session in that reader
// and one of the same card elsewhere end.
func (m *Machine) Open(now time.Time, s Session) []Event {
	r := m.readers[s.Reader]
	if r == nil || r.State != Card {
		return nil // it left while it was being asked
	}
	events := m.endAt(s.Reader, Replaced)
	for _, old := range m.Sessions() {
		if old.Card == s.Card {
			events = append(events, m.drop(old.ID, Roamed)...)
		}
	}
	s.Room, s.Since, s.Proven = r.Room, now, now
	m.sessions[s.ID] = &s
	return m.settle(now, append(events, Event{Session: s}))
}

// Proved tells that the session's card has proven its key at now and will again
// before due. It reports whether the session lives: a late proof revives nothing.
func (m *Machine) Proved(now, due time.Time, id string) bool {
	s := m.sessions[id]
	if s == nil || now.After(s.Due) {
		return false
	}
	s.Proven, s.Due = now, due
	return true
}

// End ends a session, if it lives.
func (m *Machine) End(now time.Time, id string, why Reason) []Event {
	return m.settle(now, m.drop(id, why))
}

func (m *Machine) drop(id string, why Reason) []Event {
	s := m.sessions[id]
	if s == nil {
		return nil
	}
	delete(m.sessions, id)
	return []Event{{Session: *s, Ended: why}}
}

// Tick ends the sessions whose card has not proven itself in time, and the care
// whose time is over.
func (m *Machine) Tick(now time.Time) []Event {
	var events []Event
	for _, s := range m.Sessions() {
		if now.After(s.Due) {
			events = append(events, m.drop(s.ID, CardSilent)...)
		}
	}
	return m.settle(now, events)
}

// longestNap is how much of our own sleep sessions are granted at most.
const longestNap = time.Second

// Slept tells that this box, and not the cards, did nothing for so long: proofs
// are due later by that much. Without it a box that was starved for a moment
// would throw out everyone.
func (m *Machine) Slept(d time.Duration) {
	for _, s := range m.sessions {
		s.Due = s.Due.Add(min(d, longestNap))
	}
}

// NextDue returns when the first session must have proven itself, or the first
// care is over.
func (m *Machine) NextDue() (time.Time, bool) {
	var first time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, s := range m.sessions {
		sooner(s.Due)
	}
	for _, c := range m.care {
		sooner(c.Until)
	}
	return first, !first.IsZero()
}

// Live returns a live session.
func (m *Machine) Live(id string) (Session, bool) {
	if s := m.sessions[id]; s != nil {
		return *s, true
	}
	return Session{}, false
}

// Readers returns the readers by name.
func (m *Machine) Readers() []Reader {
	var all []Reader
	for _, r := range m.readers {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Reader) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Sessions returns the live sessions, oldest first.
func (m *Machine) Sessions() []Session {
	var all []Session
	for _, s := range m.sessions {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Session) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}

// endAt ends the session in a reader.
func (m *Machine) endAt(reader string, why Reason) []Event {
	var events []Event
	for _, s := range m.Sessions() {
		if s.Reader == reader {
			events = append(events, m.drop(s.ID, why)...)
		}
	}
	return events
}
