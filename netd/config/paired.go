package config

import (
	"cmp"
	"net/netip"
)

// Paired is the pair's address towards a provider: whichever box is master of the
// group has it. Connections that leave behind it can go on at the other box.
type Paired struct {
	Group   string     // failoverd's name for who has it; empty: the uplink has none
	Address netip.Addr // IPv4
}

// paired finds the uplinks on whose port a group of the pair has an IPv4 address, the
// first of several. failoverd checks its section itself; what makes no sense is passed
// over here.
func (r *reader) paired(c *Config) {
	for _, g := range groups(r.f) {
		for i := range c.Uplinks {
			if u := &c.Uplinks[i]; u.Paired.Group == "" && g.port == u.Port && g.address.Is4() && usable(g.address) {
				u.Paired = Paired{Group: g.name, Address: g.address}
			}
		}
	}
}

// firstAddress is that of a group's list, without its length; invalid: none.
func firstAddress(list any) netip.Addr {
	all, _ := list.([]any)
	if len(all) == 0 {
		return netip.Addr{}
	}
	text, _ := all[0].(string)
	p, _ := netip.ParsePrefix(text)
	return p.Addr()
}

// order is that of groups: by port, then as numbered.
func order(a, b group) int { return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.vrid, b.vrid)) }
