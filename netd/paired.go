package main

import (
	"slices"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
)

// paired says of each uplink whether the pair's address towards its provider is here.
// A failoverd that is dead has none: its guard took them off.
func paired(ups []config.Uplink, said *wire.Failover, lives bool) []bool {
	here := make([]bool, len(ups))
	for i, u := range ups {
		here[i] = u.Paired.Group != "" && said != nil && lives && slices.ContainsFunc(said.Groups, func(g wire.Group) bool {
			return g.Name == u.Paired.Group && g.Role == wire.RoleMaster
		})
	}
	return here
}

// behind is the configuration by which the clinic leaves behind the pair's addresses
// that are here, and behind the box's own elsewhere.
func behind(c config.Config, here []bool) config.Config {
	c.Uplinks = slices.Clone(c.Uplinks)
	for i := range c.Uplinks {
		if i >= len(here) || !here[i] {
			c.Uplinks[i].Paired = config.Paired{}
		}
	}
	return c
}

// hold says at which uplinks the pair's address is here.
func (w *wall) hold(here []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(here, true) {
		here = nil // as before the first word
	}
	if !slices.Equal(here, w.here) {
		w.here = here
		w.call()
	}
}
