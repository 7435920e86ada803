package status

import (
	"time"

	"clinicgate/firmware/wire"
)

// SinceStart mends the times of what b's programs say has lasted since then: none of
// it is older than the box's start. A clock that was set right meanwhile left them in
// the past, by as much as it was wrong. What outlives a restart, such as an upload's
// acceptance or a month of volume, is left alone. It writes into what b points to.
func SinceStart(b Box) {
	if b.Init.V == nil || b.Init.V.Booted.IsZero() {
		return
	}
	start := b.Init.V.Booted
	not := func(t *time.Time) {
		if !t.IsZero() && t.Before(start) {
			*t = start
		}
	}
	faults := func(all []wire.Fault) {
		for i := range all {
			not(&all[i].Since)
		}
	}
	faults(b.Init.V.Faults)
	for i := range b.Init.V.Services {
		not(&b.Init.V.Services[i].Since)
	}
	if n := b.Net.V; n != nil {
		faults(n.Faults)
		for i := range n.Uplinks {
			not(&n.Uplinks[i].Since)
		}
		for i := range n.Tunnels {
			not(&n.Tunnels[i].Since)
		}
	}
	if p := b.Pair.V; p != nil {
		faults(p.Faults)
		for i := range p.Groups {
			not(&p.Groups[i].Since)
		}
		if p.Cable != nil {
			not(&p.Cable.Since)
		}
	}
	if c := b.Card.V; c != nil {
		faults(c.Faults)
		for i := range c.Sessions {
			not(&c.Sessions[i].Since)
		}
	}
	if s := b.Sync.V; s != nil {
		faults(s.Faults)
		for i := range s.Destinations {
			not(&s.Destinations[i].Since)
		}
		if s.Mirror != nil {
			not(&s.Mirror.Since)
		}
	}
	if p := b.Panel.V; p != nil {
		faults(p.Faults)
	}
}
