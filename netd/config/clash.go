package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// noVRRPOutside refuses what could only let a provider unseat the clinic's box.
func (r *reader) noVRRPOutside(wan []Service) {
	if slices.Contains(wan, Service{Proto: "vrrp"}) {
		r.bad("net.firewall.wan", "got \"vrrp\", which is for the clinic's side only")
	}
}

// ports refuses two uses of one port with one tag.
func (r *reader) ports(c Config) {
	taken := map[string]string{}
	take := func(key, dev string) {
		if by, ok := taken[dev]; ok && dev != "" {
			r.bad(key+".port", "port %q is already used by %s (%s), want a port or a vlan of its own", dev, by, r.f.At(by))
			return
		}
		taken[dev] = key + ".port"
	}
	for i, z := range c.Zones {
		take(zoneKey(i), z.Port)
	}
	for i, u := range c.Uplinks {
		take(fmt.Sprintf("net.uplink[%d]", i), u.Port)
	}
	if c.HA != nil {
		take("net.ha", c.HA.Port)
	}
}

// A claim is a network that has one place in the clinic.
type claim struct {
	key    string
	prefix netip.Prefix
	tunnel int  // index of the tunnel it belongs to, -1: none
	wan    bool // a provider's
}

// overlaps refuses networks that would have to be in two places, and addresses
// in the internet that the site file puts elsewhere.
func (r *reader) overlaps(c Config) {
	claims := networks(c)
	for i, a := range claims {
		for _, b := range claims[:i] {
			if !c.together(a, b) && a.prefix.IsValid() && b.prefix.IsValid() && a.prefix.Overlaps(b.prefix) {
				r.bad(a.key, "%s overlaps %s of %s (%s)", a.prefix, b.prefix, b.key, r.f.At(b.key))
			}
		}
	}
	for _, t := range c.Probe.Targets {
		r.outside(claims, "net.probe.targets", t)
	}
	r.outside(claims, "net.probe.stamp", c.Probe.Stamp.Addr())
	for _, t := range c.Six.Targets {
		r.outside(claims, "net.ipv6.targets", t)
	}
	for i, t := range c.Tunnels {
		for j, h := range t.Hubs {
			key := fmt.Sprintf("net.tunnel[%d].endpoint", i)
			if j > 0 {
				key = fmt.Sprintf("net.tunnel[%d].standby[%d].endpoint", i, j-1)
			}
			r.outside(claims, key, h.Endpoint.Addr())
		}
	}
}

// together reports whether two claims are one tunnel's, or routes of two tunnels
// between which the class of a flow decides.
func (c Config) together(a, b claim) bool {
	if a.tunnel < 0 || b.tunnel < 0 {
		return false
	}
	routes := strings.HasSuffix(a.key, ".routes") && strings.HasSuffix(b.key, ".routes")
	return a.tunnel == b.tunnel || routes && c.Tunnels[a.tunnel].Class != c.Tunnels[b.tunnel].Class
}

func networks(c Config) []claim {
	var claims []claim
	for i, z := range c.Zones {
		claims = append(claims, claim{zoneKey(i) + ".address", z.Address.Masked(), -1, false})
	}
	if c.Six.Local.IsValid() {
		claims = append(claims, claim{"net.ipv6.local", c.Six.Local, -1, false})
	}
	for i, u := range c.Uplinks {
		key := fmt.Sprintf("net.uplink[%d]", i)
		if u.Method == Static {
			claims = append(claims, claim{key + ".address", u.Address.Masked(), -1, true})
		}
		if u.Six.Method == SixStatic {
			claims = append(claims, claim{key + ".ipv6_address", u.Six.Address.Masked(), -1, true})
			if u.Six.Prefix.IsValid() {
				claims = append(claims, claim{key + ".ipv6_prefix", u.Six.Prefix, -1, false})
			}
		}
	}
	if c.HA != nil {
		claims = append(claims, claim{"net.ha.address", c.HA.Address.Masked(), -1, false})
	}
	for i, t := range c.Tunnels {
		key := fmt.Sprintf("net.tunnel[%d]", i)
		claims = append(claims, claim{key + ".address", t.Address.Masked(), i, false})
		for _, p := range t.Routes {
			claims = append(claims, claim{key + ".routes", p, i, false})
		}
	}
	return claims
}

// outside refuses an address meant to be in the internet that lies in the clinic
// or behind a tunnel. Inside a provider's own network it may lie.
func (r *reader) outside(claims []claim, key string, a netip.Addr) {
	for _, c := range claims {
		if !c.wan && a.IsValid() && c.prefix.IsValid() && c.prefix.Contains(a) {
			r.bad(key, "%s lies in %s of %s (%s), want an address in the internet", a, c.prefix, c.key, r.f.At(c.key))
		}
	}
}

// Clash says why an uplink may not have an address in p, which a DHCP server
// handed out: the clinic has that network elsewhere.
func (c Config) Clash(p netip.Prefix) error {
	for _, n := range networks(c) {
		if !n.wan && n.prefix.Overlaps(p) {
			return fmt.Errorf("%s overlaps %s, which is %s", p, n.prefix, n.key)
		}
	}
	return nil
}

// ClashAt says why uplink i may not have an address in p: the site has the network
// elsewhere, the fixed networks of the other uplinks included. That two DHCP servers
// hand out the same private network is no clash: two modems may well do so.
func (c Config) ClashAt(i int, p netip.Prefix) error {
	for j, u := range c.Uplinks {
		if j != i && u.Method == Static && u.Address.Masked().Overlaps(p) {
			return fmt.Errorf("%s overlaps %s, which is uplink %s's", p, u.Address.Masked(), u.Name)
		}
	}
	return c.Clash(p)
}
