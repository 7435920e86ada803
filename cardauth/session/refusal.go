package session

import (
	"fmt"
	"net/netip"
	"time"
)

// A Login is one PIN typed at a workstation.
type Login struct {
	Room     string
	Patient  bool   // at the room's reader for patients
	PIN      []byte // whoever is given the login wipes it
	LastTry  bool   // the holder confirmed to spend the card's last try
	CertHash string // of the workstation's certificate
	Device   string // what that calls the workstation

	// Where the PIN is typed at the reader, PIN is empty; who asks there must
	// be at the same place.
	From     netip.Addr // of the workstation that asks
	Question string     // shown where the PIN is typed
}

// Kind says why a login is refused, in a word that never changes: it is what
// callers branch on.
type Kind string

// Kinds of refusal.
const (
	NoReader  Kind = "no-reader"      // the room has none, or it is not plugged in
	NoCard    Kind = "no-card"        // the reader is empty
	NotACard  Kind = "unknown-card"   // not a PIV card, or without our certificate
	Untrusted Kind = "untrusted-card" // certificate or key refused
	BadPIN    Kind = "malformed-pin"  // not 6 to 8 digits; the card was not asked
	WrongPIN  Kind = "wrong-pin"
	LastTry   Kind = "last-try" // the card has one try left; confirm to spend it
	Blocked   Kind = "blocked"  // no try left
	SlowDown  Kind = "slow-down"
	InUse     Kind = "in-use"      // a session is open from another workstation
	Busy      Kind = "busy"        // the reader is busy with another login
	Failed    Kind = "card-failed" // card or reader broke off
	NotReady  Kind = "not-ready"   // the gateway lacks anchors or pcscd
	NotHere   Kind = "not-a-workstation"

	PINAtReader Kind = "pin-at-reader" // a PIN was sent for a room whose PIN is typed at its reader
	NoPIN       Kind = "no-pin"        // nobody typed one there
	Elsewhere   Kind = "elsewhere"     // asked for from another place than the reader's
	NoSession   Kind = "session-over"
	NotYours    Kind = "role"         // not for this role
	TooMany     Kind = "too-many"     // emergencies in a day
	NoReason    Kind = "no-reason"    // an emergency without one
	NotKept     Kind = "not-recorded" // no trace could be kept, so nothing was done
	Unsigned    Kind = "not-signed"   // the card did not sign
)

// A Refusal is a login that did not succeed.
type Refusal struct {
	Kind   Kind
	Detail string        // for people; says what to do
	Tries  int           // tries left, with WrongPIN and LastTry
	Wait   time.Duration // with SlowDown
	Who    string        // whose card it was, where that is known; for the trace, not for the asker
}

// Error says the kind and the detail.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Kind, r.Detail) }

// attempts are the wrong PINs a card was shown in a row.
type attempts struct {
	count int
	last  time.Time
	told  time.Time // when its holder was told that one try is left
}

const (
	firstWait  = time.Second
	longest    = 30 * time.Second
	forget     = 10 * time.Minute // a card not tried for so long starts afresh
	manyCards  = 1000             // remembered at most
	countToMax = 6
)

// Wrong notes a wrong PIN.
func (m *Machine) Wrong(now time.Time, card [32]byte) {
	a, ok := m.remember(now, card)
	if !ok {
		return // the card's own counter still holds
	}
	if now.Sub(a.last) > forget {
		a.count = 0
	}
	a.count, a.last = min(a.count+1, countToMax), now
	m.wrong[card] = a
}

// remember returns what is known of a card, or false when there is no room for
// more cards.
func (m *Machine) remember(now time.Time, card [32]byte) (attempts, bool) {
	if len(m.wrong) >= manyCards {
		for c, a := range m.wrong {
			if now.Sub(a.last) > forget && now.Sub(a.told) > forget {
				delete(m.wrong, c)
			}
		}
	}
	a, known := m.wrong[card]
	return a, known || len(m.wrong) < manyCards
}

// Right notes a right PIN.
func (m *Machine) Right(card [32]byte) { delete(m.wrong, card) }

// Told notes that a card's holder was told that one try is left.
func (m *Machine) Told(now time.Time, card [32]byte) {
	if a, ok := m.remember(now, card); ok {
		a.told = now
		m.wrong[card] = a
	}
}

// MaySpendLast says whether a card's last try may be spent: its holder was told,
// and has put the card in since. A program can say yes for a holder, but can't
// put a card in.
func (m *Machine) MaySpendLast(card [32]byte, inserted time.Time) bool {
	a := m.wrong[card]
	return !a.told.IsZero() && inserted.After(a.told)
}

// Wait says how long this card must not be tried: a second after the first wrong
// PIN, twice as long after each further one.
func (m *Machine) Wait(now time.Time, card [32]byte) time.Duration {
	a := m.wrong[card]
	if a.count == 0 {
		return 0
	}
	pause := min(firstWait<<(a.count-1), longest)
	return max(0, a.last.Add(pause).Sub(now))
}
