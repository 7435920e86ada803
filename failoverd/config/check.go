package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"clinicgate/firmware/site"
)

// A check collects the first complaint about one part of the section.
type check struct {
	f   *site.File
	at  string // the part's key
	err error
}

func (c *check) refuse(key, format string, args ...any) {
	if c.err == nil {
		c.err = c.f.Errorf(c.at+"."+key, format, args...)
	}
}

// text accepts names that can stand in a log line, a metric label and, for ports,
// a device name.
func (c *check) text(key, got string, most int) {
	ok := len(got) >= 1 && len(got) <= most
	for _, r := range got {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if !ok {
		c.refuse(key, "got %q, want 1 to %d of a-z A-Z 0-9 - _ .", got, most)
	}
}

func (c *check) number(key string, got, most int) {
	if got < 1 || got > most {
		c.refuse(key, "got %d, want 1 to %d", got, most)
	}
}

func (c *check) interval(got time.Duration) {
	if got < step || got > maxInterval || got%step != 0 {
		c.refuse("interval", "got %v, want %v to %v in steps of %v", got, step, maxInterval, step)
	}
}

func (c *check) addresses(got []netip.Prefix) {
	if len(got) < 1 || len(got) > maxAddresses {
		c.refuse("addresses", "got %d, want 1 to %d", len(got), maxAddresses)
	}
	seen := map[netip.Addr]bool{}
	for i, p := range got {
		key := fmt.Sprintf("addresses[%d]", i)
		a := p.Addr()
		switch {
		case a.Is4() != got[0].Addr().Is4() || a.Is4In6() || a.Zone() != "":
			c.refuse(key, "got %v, want all of a group IPv4 or all IPv6: make two groups", p)
		case i == 0 && a.Is6() && !a.IsLinkLocalUnicast(): // RFC 9568 §5.2.9, erratum 8300
			c.refuse(key, "got %v, want a link-local address (fe80::/64) before all others of IPv6", p)
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			c.refuse(key, "got %v, want an address of one machine", p)
		case a.Is6() && (p.Bits() < 16 || p.Bits() > 127):
			c.refuse(key, "got %v, want the prefix length of the clinic's network, usually /64", p)
		case a.Is4() && (p.Bits() < 8 || p.Bits() > 30):
			c.refuse(key, "got %v, want the prefix length of the clinic's network, /8 to /30", p)
		case a == p.Masked().Addr():
			c.refuse(key, "got %v, want a machine's address, not the network's own", p)
		case seen[a]:
			c.refuse(key, "got %v twice", a)
		}
		seen[a] = true
	}
}

// delay refuses one that would never count.
func (c *check) delay(g Group) {
	if g.Delay < 0 || g.Delay > maxDelay {
		c.refuse("preempt_delay", "got %v, want 0s to %v", g.Delay, maxDelay)
	}
	if g.Delay > 0 && !g.Preempt {
		c.refuse("preempt_delay", "got %v, but preempt is false: it would never count", g.Delay)
	}
}

// peers are the addresses that advertisements come from: for IPv6 the other box's
// link-local one.
func (c *check) peers(g Group) {
	if len(g.Peers) > maxPeers {
		c.refuse("peers", "got %d, want at most %d", len(g.Peers), maxPeers)
	}
	for i, p := range g.Peers {
		key := fmt.Sprintf("peers[%d]", i)
		switch {
		case len(g.Addresses) == 0: // refused elsewhere
		case p.Is4() != g.Addresses[0].Addr().Is4() || p.Zone() != "":
			c.refuse(key, "got %v, want an address of the same family as addresses", p)
		case p.Is6() && !p.IsLinkLocalUnicast():
			c.refuse(key, "got %v, want the other box's link-local address (fe80::...)", p)
		case slices.ContainsFunc(g.Addresses, func(a netip.Prefix) bool { return a.Addr() == p }):
			c.refuse(key, "got %v, which is shared: want the other box's own address", p)
		}
	}
}

// The hardware addresses a group may use.
const (
	macPort    = "port"
	macVirtual = "virtual"
)

// way refuses ways of working that can't be had together.
func (c *check) way(g Group, mac string) {
	switch {
	case mac != "" && mac != macPort && mac != macVirtual:
		c.refuse("mac", "got %q, want %q or %q", mac, macPort, macVirtual)
	case g.Unicast && len(g.Peers) == 0:
		c.refuse("unicast", "got true without peers: want the other box's own address in peers")
	case g.Priority == Owner && !g.Preempt:
		c.refuse("preempt", "got false, but a box of priority 255 owns the addresses and always takes them")
	case g.Priority == Owner && g.Virtual:
		c.refuse("mac", "got %q, but a box of priority 255 has the addresses on the port itself", mac)
	case g.Priority == Owner && !g.Accept:
		c.refuse("accept", "got false, but a box of priority 255 always answers under its own addresses (RFC 9568 §6.1)")
	}
}

// apart holds groups apart: names and addresses are unique, and so is a VRID on a
// port within one family (RFC 9568 §5.2.3). Link-local addresses may come again on
// another port.
func (c *check) apart(g Group, others []Group) {
	for _, o := range others {
		if o.Name == g.Name {
			c.refuse("name", "got %q twice", g.Name)
		}
		if o.Port == g.Port && o.VRID == g.VRID && family(o) == family(g) {
			c.refuse("vrid", "got %d, which group %q has on port %s already", g.VRID, o.Name, o.Port)
		}
		if g.Virtual && o.Virtual && o.VRID == g.VRID && family(o) == family(g) {
			c.refuse("vrid", "got %d, whose virtual hardware address group %q has already", g.VRID, o.Name)
		}
		if a, same := both(g, o); same && (o.Port == g.Port || !a.IsLinkLocalUnicast()) {
			c.refuse("addresses", "got %v, which group %q announces already", a, o.Name)
		}
	}
}
