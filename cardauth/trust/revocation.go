package trust

import (
	"crypto/x509"
	"fmt"
	"time"

	"clinicgate/firmware/wire"
)

// Patience is how long lists may be out of date before less is allowed. Nothing
// here ever allows nothing.
type Patience struct {
	Stale      time.Duration // all is allowed, and marked
	Restricted time.Duration // reading, and writing in an emergency; then emergencies only
}

// A Revocation is what is known about cards that must not be used. It is
// immutable.
type Revocation struct {
	lists map[string]*CRL // by Key
	hot   *Hotlist
}

// NewRevocation puts lists together; a later one of the same key wins.
func NewRevocation(lists []*CRL, hot *Hotlist) *Revocation {
	r := &Revocation{map[string]*CRL{}, hot}
	for _, c := range lists {
		r.lists[c.Key()] = c
	}
	return r
}

// List returns the list that one of the same key would replace.
func (r *Revocation) List(key string) *CRL { return r.lists[key] }

// Lists returns all lists.
func (r *Revocation) Lists() []*CRL {
	var all []*CRL
	for _, c := range r.lists {
		all = append(all, c)
	}
	return all
}

// Hotlist returns the hotlist, nil if there is none.
func (r *Revocation) Hotlist() *Hotlist { return r.hot }

// Check refuses a card that is on a list, or whose authority is. However old a list
// is: what was revoked stays so.
func (r *Revocation) Check(cert *x509.Certificate, h Holder, a *Anchors) error {
	if r.hot.Names(h) {
		return fmt.Errorf("%w: it is on the hotlist %d", ErrRevoked, r.hot.Serial)
	}
	if c := r.lists[listKey(cert.RawIssuer, true)]; c != nil && c.users && c.revoked[string(cert.SerialNumber.Bytes())] {
		return fmt.Errorf("%w: it is on list %v of %s", ErrRevoked, c.Number, c.Issuer)
	}
	for _, ca := range a.certs {
		if string(ca.RawSubject) != string(cert.RawIssuer) {
			continue
		}
		for _, users := range []bool{true, false} {
			if c := r.lists[listKey(ca.RawIssuer, users)]; c != nil && c.cas && c.revoked[string(ca.SerialNumber.Bytes())] {
				return fmt.Errorf("%w: its authority %s is on list %v of %s", ErrRevoked, ca.Subject.CommonName, c.Number, c.Issuer)
			}
		}
	}
	return nil
}

// Grade says how good the lists of the anchors' issuing authorities are at now, and
// until when the oldest holds, or held. An authority without any list counts as
// one whose list is long out of date.
func (r *Revocation) Grade(now time.Time, p Patience, all ...*Anchors) (grade string, until time.Time) {
	first := true
	for _, a := range all {
		for _, ca := range a.issuing() {
			var next time.Time
			if c := r.lists[listKey(ca.RawSubject, true)]; c != nil {
				next = c.Next
			}
			if first || next.Before(until) {
				first, until = false, next
			}
		}
	}
	if first {
		return wire.GradeUnchecked, until
	}
	switch late := now.Sub(until); {
	case until.IsZero() || late > p.Restricted:
		return wire.GradeEmergency, until
	case late > p.Stale:
		return wire.GradeRestricted, until
	case late > 0:
		return wire.GradeStale, until
	}
	return wire.GradeFresh, until
}

// issuing are the authorities that sign cards: those on the way, or the roots where
// there are no others.
func (a *Anchors) issuing() []*x509.Certificate {
	if a == nil {
		return nil
	}
	var between []*x509.Certificate
	for _, c := range a.certs {
		if c.CheckSignatureFrom(c) != nil {
			between = append(between, c)
		}
	}
	if len(between) > 0 {
		return between
	}
	return a.certs
}

// Newest is the latest time that somebody trusted has signed: time can't be
// before it.
func (r *Revocation) Newest() time.Time {
	var newest time.Time
	for _, c := range r.lists {
		if c.This.After(newest) {
			newest = c.This
		}
	}
	if r.hot != nil && r.hot.Issued.After(newest) {
		newest = r.hot.Issued
	}
	return newest
}
