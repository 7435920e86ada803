package smart

import (
	"crypto/sha256"
	"strings"
	"time"

	"clinicgate/firmware/wire"
)

// How long things are good for.
const (
	CodeLife    = time.Minute
	RefreshLife = 12 * time.Hour // the session behind it ends long before
)

// Bounds on what is remembered.
const (
	maxCodes   = 1000
	maxRefresh = 5000
)

// A Grant is what somebody allowed a program, in a session.
type Grant struct {
	Request
	Session string // sid
	Granted string // scopes
	Addr    string // the browser's address
	Bound   string // what its tokens are bound to, once that is known
}

// entry is a code or a refresh token: spent when it was used, and kept so that a
// second use is known for what it is.
type entry struct {
	grant Grant
	until time.Time // when it, or the memory of it, is of no more use
	spent bool
}

// memory is how long a second use is known for what it is.
const memory = 10 * time.Minute

// spend marks an entry used.
func (e *entry) spend(now time.Time) { e.spent, e.until = true, now.Add(memory) }

// A Ledger remembers what was handed out, by hashes. It belongs to one goroutine at
// a time.
type Ledger struct {
	codes, refresh map[[32]byte]*entry
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{map[[32]byte]*entry{}, map[[32]byte]*entry{}}
}

// AddCode notes a code for a grant. It reports whether there was room.
func (l *Ledger) AddCode(code string, g Grant, now time.Time) bool {
	return add(l.codes, code, g, now.Add(CodeLife), now, maxCodes)
}

// AddRefresh notes a refresh token for a grant.
func (l *Ledger) AddRefresh(token string, g Grant, now time.Time) bool {
	return add(l.refresh, token, g, now.Add(RefreshLife), now, maxRefresh)
}

func add(to map[[32]byte]*entry, secret string, g Grant, until, now time.Time, most int) bool {
	if len(to) >= most {
		for k, e := range to {
			if now.After(e.until) {
				delete(to, k)
			}
		}
	}
	if len(to) >= most {
		return false
	}
	to[sha256.Sum256([]byte(secret))] = &entry{grant: g, until: until}
	return true
}

// Use is what a program hands in at the token endpoint.
type Use struct {
	Secret   string // code or refresh token
	Client   string
	Redirect string // with a code
	Verifier string // with a code
	Bound    string // the key it proved, or the address it came from, with its prefix
}

// Redeem takes a code in. Stolen reports that it was used before: then whatever
// came of the first use must end too (RFC 6749 §4.1.2).
func (l *Ledger) Redeem(u Use, now time.Time) (g Grant, stolen bool, p *Problem) {
	e := l.codes[sha256.Sum256([]byte(u.Secret))]
	switch {
	case e == nil || now.After(e.until):
		return Grant{}, false, no("the code is unknown or too old")
	case e.spent:
		return e.grant, true, no("the code was used before")
	case e.grant.App.ID != u.Client:
		return Grant{}, false, no("the code is another program's")
	case e.grant.Redirect != u.Redirect:
		return Grant{}, false, no("redirect_uri is not the one the code was asked for with")
	case !verified(e.grant.Challenge, u.Verifier):
		return Grant{}, false, no("code_verifier does not fit")
	case !e.grant.fits(u.Bound):
		return Grant{}, false, no("the code was asked for with another key, or elsewhere")
	}
	e.spend(now)
	e.grant.Bound = u.Bound
	return e.grant, false, nil
}

// fits says whether tokens may be bound so: to the key that was announced, if one
// was, or to the address that asked.
func (g Grant) fits(bound string) bool {
	if g.App.Bind == BindAddr {
		return bound == wire.BoundAddr+g.Addr
	}
	key, ok := strings.CutPrefix(bound, wire.BoundKey)
	return ok && key != "" && (g.Key == "" || g.Key == key)
}

// Renew takes a refresh token in, once; a second use ends what it was for.
func (l *Ledger) Renew(u Use, now time.Time) (g Grant, stolen bool, p *Problem) {
	e := l.refresh[sha256.Sum256([]byte(u.Secret))]
	switch {
	case e == nil || now.After(e.until):
		return Grant{}, false, no("the refresh token is unknown or too old")
	case e.grant.App.ID != u.Client:
		return Grant{}, false, no("the refresh token is another program's")
	case e.grant.Bound != u.Bound:
		return Grant{}, false, no("the refresh token is bound to another key or address")
	case e.spent:
		return e.grant, true, no("the refresh token was used before")
	}
	e.spend(now)
	return e.grant, false, nil
}

// Forget drops everything of a session.
func (l *Ledger) Forget(sid string) {
	for _, m := range []map[[32]byte]*entry{l.codes, l.refresh} {
		for k, e := range m {
			if e.grant.Session == sid {
				delete(m, k)
			}
		}
	}
}

func no(detail string) *Problem { return &Problem{Code: InvalidGrant, Detail: detail} }
