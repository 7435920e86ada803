package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// noVRRPOutside refuses what could only let a provider unseat the clinic's box.
func (r *reader) noVRRPOutside(wan []Service) {
	if slices.Contains(wan, Service{Proto: "vrrp"}) {
		r.bad("net.firewall.wan", "got \"vrrp\", which is for the clinic's side only")
	}
}

// ports refuses two uses of one port.
func (r *reader) ports(c Config) {
	taken := map[string]string{c.LAN.Port: "net.lan.port"}
	for i, u := range c.Uplinks {
		key := fmt.Sprintf("net.uplink[%d].port", i)
		if by, ok := taken[u.Port]; ok && u.Port != "" {
			r.bad(key, "port %q is already used by %s (%s), want a port of its own", u.Port, by, r.f.At(by))
			continue
		}
		taken[u.Port] = key
	}
}

// A claim is a network that has one place in the clinic.
type claim struct {
	key    string
	prefix netip.Prefix
	tunnel int // index of the tunnel it belongs to, -1: none
}

// elsewhere reports whether the network is no provider's.
func (c claim) elsewhere() bool {
	return c.tunnel >= 0 || c.key == "net.lan.address" || c.key == "net.ha.address"
}

// overlaps refuses networks that would have to be in two places, and addresses
// in the internet that the site file puts elsewhere.
func (r *reader) overlaps(c Config) {
	claims := networks(c)
	for i, a := range claims {
		for _, b := range claims[:i] {
			sameTunnel := a.tunnel >= 0 && a.tunnel == b.tunnel
			if !sameTunnel && a.prefix.IsValid() && b.prefix.IsValid() && a.prefix.Overlaps(b.prefix) {
				r.bad(a.key, "%s overlaps %s of %s (%s)", a.prefix, b.prefix, b.key, r.f.At(b.key))
			}
		}
	}
	for _, t := range c.Probe.Targets {
		r.outside(claims, "net.probe.targets", t)
	}
	for i, t := range c.Tunnels {
		r.outside(claims, fmt.Sprintf("net.tunnel[%d].endpoint", i), t.Endpoint.Addr())
	}
}

func networks(c Config) []claim {
	claims := []claim{{"net.lan.address", c.LAN.Address.Masked(), -1}}
	for i, u := range c.Uplinks {
		if u.Method == Static {
			claims = append(claims, claim{fmt.Sprintf("net.uplink[%d].address", i), u.Address.Masked(), -1})
		}
	}
	if c.HA != nil {
		claims = append(claims, claim{"net.ha.address", c.HA.Address.Masked(), -1})
	}
	for i, t := range c.Tunnels {
		key := fmt.Sprintf("net.tunnel[%d]", i)
		claims = append(claims, claim{key + ".address", t.Address.Masked(), i})
		for _, p := range t.Routes {
			claims = append(claims, claim{key + ".routes", p, i})
		}
	}
	return claims
}

// outside refuses an address meant to be in the internet that lies in the LAN or
// behind a tunnel. Inside a provider's own network it may lie.
func (r *reader) outside(claims []claim, key string, a netip.Addr) {
	for _, c := range claims {
		if c.elsewhere() && a.IsValid() && c.prefix.IsValid() && c.prefix.Contains(a) {
			r.bad(key, "%s lies in %s of %s (%s), want an address in the internet", a, c.prefix, c.key, r.f.At(c.key))
		}
	}
}

// Clash says why an uplink may not have an address in p, which a DHCP server
// handed out: the clinic has that network elsewhere.
func (c Config) Clash(p netip.Prefix) error {
	for _, n := range networks(c) {
		if n.elsewhere() && n.prefix.Overlaps(p) {
			return fmt.Errorf("%s overlaps %s, which is %s", p, n.prefix, n.key)
		}
	}
	return nil
}
