// Package router remembers what the routers of one provider's link have said, and
// tells which of them to use and which addresses the box may have. It guarantees
// that what anyone on the link says costs bounded memory and counts for this link
// only. It is pure.
package router

import (
	"net/netip"
	"slices"
	"time"

	"clinicgate/netd/advert"
)

// Bounds of what is remembered. What comes when they are reached is passed over:
// who was there first stays.
const (
	maxRouters  = 4
	maxPrefixes = 4
)

// twoHours protects addresses from a message that says they are over (RFC 4862,
// §5.5.3 e).
const twoHours = 2 * time.Hour

// Longest is the longest that anything is believed; routers may say "for ever".
const Longest = 30 * 24 * time.Hour

// Table is what is known of one link. The zero Table knows nothing.
type Table struct {
	routers  []router
	prefixes []prefix
}

type router struct {
	addr   netip.Addr
	prefer int
	until  time.Time
}

type prefix struct {
	prefix    netip.Prefix
	onLink    bool
	preferred time.Time
	valid     time.Time
}

// View is what follows from a Table at a moment.
type View struct {
	Gateway  netip.Addr // invalid: no router
	Prefixes []netip.Prefix
	OnLink   []bool // of each prefix: its network is on the link
}

// Hear takes in an advertisement of the router from. ok judges a prefix: the
// clinic may have it elsewhere.
func (t *Table) Hear(from netip.Addr, a advert.Advert, ok func(netip.Prefix) bool, now time.Time) {
	t.expire(now)
	t.hearRouter(from, a, now)
	for _, p := range a.Prefixes {
		if p.Auto && p.Prefix.Bits() == 64 && p.Preferred <= p.Valid && ok(p.Prefix) {
			t.hearPrefix(p, now)
		}
	}
}

func (t *Table) hearRouter(from netip.Addr, a advert.Advert, now time.Time) {
	i := slices.IndexFunc(t.routers, func(r router) bool { return r.addr == from })
	r := router{addr: from, prefer: a.Prefer, until: now.Add(a.Lifetime)}
	switch {
	case a.Lifetime == 0 && i >= 0:
		t.routers = slices.Delete(t.routers, i, i+1)
	case a.Lifetime == 0:
	case i >= 0:
		t.routers[i] = r
	case len(t.routers) < maxRouters:
		t.routers = append(t.routers, r)
	}
}

func (t *Table) hearPrefix(p advert.Prefix, now time.Time) {
	valid, preferred := min(p.Valid, Longest), min(p.Preferred, Longest)
	i := slices.IndexFunc(t.prefixes, func(o prefix) bool { return o.prefix == p.Prefix })
	if i < 0 {
		if valid > 0 && len(t.prefixes) < maxPrefixes {
			t.prefixes = append(t.prefixes, prefix{p.Prefix, p.OnLink, now.Add(preferred), now.Add(valid)})
		}
		return
	}
	o := &t.prefixes[i]
	left := o.valid.Sub(now)
	switch {
	case valid > twoHours || valid > left:
		o.valid = now.Add(valid)
	case left > twoHours:
		o.valid = now.Add(twoHours)
	}
	o.onLink, o.preferred = p.OnLink, now.Add(preferred)
}

func (t *Table) expire(now time.Time) {
	t.routers = slices.DeleteFunc(t.routers, func(r router) bool { return !now.Before(r.until) })
	t.prefixes = slices.DeleteFunc(t.prefixes, func(p prefix) bool { return !now.Before(p.valid) })
}

// Look returns what holds now: the router with the best preference, of several the
// one heard first; prefixes still preferred before those that are not.
func (t *Table) Look(now time.Time) View {
	t.expire(now)
	var v View
	best := 0
	for i, r := range t.routers {
		if r.prefer > t.routers[best].prefer {
			best = i
		}
	}
	if len(t.routers) > 0 {
		v.Gateway = t.routers[best].addr
	}
	for _, preferred := range []bool{true, false} {
		for _, p := range t.prefixes {
			if now.Before(p.preferred) == preferred {
				v.Prefixes, v.OnLink = append(v.Prefixes, p.prefix), append(v.OnLink, p.onLink)
			}
		}
	}
	return v
}
