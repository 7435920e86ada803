// Package beacon decides what the box, as a router, tells the hosts of one zone:
// which prefixes they may have addresses in, which of these are going, who answers
// questions about names (RFC 8106), and whether it is a way out. It guarantees that a
// prefix or a name server once told of is never just left out: hosts hear that it is
// over (RFC 9096, §3.5). It is pure.
package beacon

import (
	"net/netip"
	"slices"
	"time"

	"clinicgate/netd/advert"
)

// Times of what is told. They are short, as a provider may take a prefix back any
// day, and longer than any hosts need between two messages.
const (
	preferred = 10 * time.Minute
	valid     = 30 * time.Minute
	lifetime  = 3 * time.Minute // as a way out
	every     = time.Minute     // between messages nobody asked for
	hurry     = 3 * time.Second // between the first after a change (RFC 4861, §6.2.4)
	first     = 3               // so many
)

// A Prefix is one that hosts of the zone may have addresses in.
type Prefix struct {
	Prefix netip.Prefix
	Good   bool // for new connections
}

// State is what a zone is to be told.
type State struct {
	Prefixes []Prefix
	DNS      []netip.Addr // name servers, the box's own addresses
	Way      bool         // the box is a way to the internet or another zone
	Silent   bool         // the pair's other box speaks
}

// Told is a prefix that hosts have heard of. It is stored, so that a box that
// starts anew with another prefix tells them that the old one is over.
type Told struct {
	Prefix netip.Prefix `json:"prefix"`
	Until  time.Time    `json:"until"` // hosts may have addresses in it
}

// Beacon is what one zone was told. Make it with New.
type Beacon struct {
	state State
	told  []Told
	named []named
	next  time.Time
	left  int  // messages in a hurry
	spoke bool // and is not silent since
}

// A named is a name server that hosts have heard of and may ask until then. A restart
// forgets it: hosts do so minutes later.
type named struct {
	addr  netip.Addr
	until time.Time
}

// What is remembered is bounded; the newest stays.
const (
	maxTold  = advert.MaxPrefixes
	maxNamed = 2 * advert.MaxServers
)

// New returns a beacon for a zone whose hosts heard of told, maybe from the box as
// it was before it started. What can't be is passed over.
func New(told []Told, now time.Time) *Beacon {
	b := &Beacon{next: now}
	for _, t := range told {
		if t.Prefix.IsValid() && t.Prefix.Bits() == 64 && now.Before(t.Until) && t.Until.Sub(now) <= valid && len(b.told) < maxTold {
			b.told = append(b.told, t)
		}
	}
	return b
}

// Set says what is true from now on. A change is told at once, and twice more.
func (b *Beacon) Set(s State, now time.Time) {
	if s.Way == b.state.Way && s.Silent == b.state.Silent && slices.Equal(s.Prefixes, b.state.Prefixes) && slices.Equal(s.DNS, b.state.DNS) {
		return
	}
	b.state, b.next, b.left = s, now, first
}

// Told returns what is to be stored: what hosts have heard of.
func (b *Beacon) Told() []Told { return slices.Clone(b.told) }

// Asked says that a host has asked: the next message is due, but they keep their
// distance.
func (b *Beacon) Asked(now time.Time) {
	if soon := now.Add(hurry); b.next.After(soon) {
		b.next = soon
	}
}

// Due returns the message that is due, if one is, and remembers what it tells.
func (b *Beacon) Due(now time.Time) (advert.Advert, bool) {
	if now.Before(b.next) {
		return advert.Advert{}, false
	}
	b.next = now.Add(every)
	if b.left > 0 {
		b.left--
		b.next = now.Add(hurry)
	} else if b.state.Silent {
		b.spoke = false
	}
	if b.state.Silent && !b.spoke {
		return advert.Advert{}, false
	}
	b.spoke = true
	a := b.Now(now)
	b.remember(a, now)
	return a, true
}

// Now is what a host that asks is told. A box that becomes silent says goodbye: it
// is no way out any more, its prefixes are not for new connections, and nobody is to
// ask it for names.
func (b *Beacon) Now(now time.Time) advert.Advert {
	var a advert.Advert
	if b.state.Way && !b.state.Silent {
		a.Lifetime = lifetime
	}
	if !b.state.Silent {
		a.DNS = slices.Clone(b.state.DNS[:min(len(b.state.DNS), advert.MaxServers)])
	}
	for _, n := range b.named {
		if !slices.Contains(a.DNS, n.addr) && now.Before(n.until) && len(a.Gone) < advert.MaxServers {
			a.Gone = append(a.Gone, n.addr)
		}
	}
	for _, p := range b.state.Prefixes {
		if len(a.Prefixes) < advert.MaxPrefixes {
			o := advert.Prefix{Prefix: p.Prefix, OnLink: true, Auto: true, Valid: valid}
			if p.Good && !b.state.Silent {
				o.Preferred = preferred
			}
			a.Prefixes = append(a.Prefixes, o)
		}
	}
	for _, t := range b.told {
		gone := !slices.ContainsFunc(b.state.Prefixes, func(p Prefix) bool { return p.Prefix == t.Prefix })
		if gone && now.Before(t.Until) && len(a.Prefixes) < advert.MaxPrefixes {
			a.Prefixes = append(a.Prefixes, advert.Prefix{Prefix: t.Prefix, OnLink: true, Auto: true, Valid: t.Until.Sub(now).Truncate(time.Second)})
		}
	}
	return a
}

func (b *Beacon) remember(a advert.Advert, now time.Time) {
	b.told = slices.DeleteFunc(b.told, func(t Told) bool { return !now.Before(t.Until) })
	for _, p := range a.Prefixes {
		i := slices.IndexFunc(b.told, func(t Told) bool { return t.Prefix == p.Prefix })
		if i < 0 {
			b.told = append(b.told, Told{Prefix: p.Prefix})
			i = len(b.told) - 1
		}
		b.told[i].Until = now.Add(p.Valid)
	}
	if over := len(b.told) - maxTold; over > 0 {
		b.told = b.told[over:]
	}
	b.named = slices.DeleteFunc(b.named, func(n named) bool { return !now.Before(n.until) || slices.Contains(a.DNS, n.addr) })
	for _, addr := range a.DNS {
		b.named = append(b.named, named{addr, now.Add(advert.ServerLife)})
	}
	if over := len(b.named) - maxNamed; over > 0 {
		b.named = b.named[over:]
	}
}
