package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// How an uplink gets IPv6.
const (
	SixOff    = "off"
	SixAuto   = "auto"   // router advertisements and, where they say so, DHCPv6; a prefix for the clinic is always asked for
	SixStatic = "static" // as the site file says
)

// SixUplink is an uplink's IPv6.
type SixUplink struct {
	Method  string
	Address netip.Prefix // static only
	Gateway netip.Addr   // static only: inside Address, or link-local
	Prefix  netip.Prefix // static, optional: routed to us for the clinic
}

// Six is the clinic's IPv6.
type Six struct {
	Local   netip.Prefix // RFC 4193 prefix whose addresses never change; invalid: none
	Targets []netip.Addr // answer pings; none: an uplink's IPv6 is judged by its IPv4
}

// HasSix reports whether the clinic has IPv6 at all.
func (c Config) HasSix() bool {
	return c.Six.Local.IsValid() || slices.ContainsFunc(c.Uplinks, func(u Uplink) bool { return u.Six.Method != SixOff })
}

// sixSection is [net.ipv6] as written.
type sixSection struct {
	Local   string   `toml:"local"`
	Targets []string `toml:"targets"`
}

// Bounds of what is delegated: with a longer prefix there is no /64 to give, a
// shorter one is no clinic's.
const (
	shortestPrefix = 32
	subnetBits     = 64
)

func (r *reader) six(s *section, c *Config) {
	if s.IPv6.Local != "" {
		c.Six.Local = r.network6("net.ipv6.local", s.IPv6.Local)
		if p := c.Six.Local; p.IsValid() && (!netip.MustParsePrefix("fd00::/8").Overlaps(p) || p.Bits() != 48) {
			r.bad("net.ipv6.local", "got %s, want a /48 of fd00::/8 whose middle was drawn at random (RFC 4193), such as fd5a:1c3e:9b20::/48", p)
		}
	}
	if n := len(s.IPv6.Targets); n > maxTargets {
		r.bad("net.ipv6.targets", "got %d targets, want at most %d", n, maxTargets)
	}
	for _, t := range s.IPv6.Targets {
		a := r.addr6("net.ipv6.targets", t)
		if a.IsValid() && slices.Contains(c.Six.Targets, a) {
			r.bad("net.ipv6.targets", "%s is listed twice", a)
		}
		c.Six.Targets = append(c.Six.Targets, a)
	}
	for i, u := range s.Uplink {
		c.Uplinks[i].Six = r.sixUplink(fmt.Sprintf("net.uplink[%d]", i), u.IPv6, u.IPv6Address, u.IPv6Gateway, u.IPv6Prefix)
	}
}

func (r *reader) sixUplink(key, method, address, gateway, prefix string) SixUplink {
	six := SixUplink{Method: cmp.Or(method, SixOff)}
	switch six.Method {
	case SixStatic:
		six.Address = r.host6(key+".ipv6_address", address)
		six.Gateway = r.gateway6(key+".ipv6_gateway", gateway, six.Address)
		if prefix != "" {
			six.Prefix = r.network6(key+".ipv6_prefix", prefix)
			if b := six.Prefix.Bits(); six.Prefix.IsValid() && (b < shortestPrefix || b > subnetBits) {
				r.bad(key+".ipv6_prefix", "got %s, want /%d to /%d", six.Prefix, shortestPrefix, subnetBits)
			}
		}
	case SixOff, SixAuto:
		if address+gateway+prefix != "" {
			r.bad(key+".ipv6", "got %q with an ipv6_address, ipv6_gateway or ipv6_prefix; want \"static\", or none of them", six.Method)
		}
	default:
		r.bad(key+".ipv6", "got %q, want \"off\", \"auto\" or \"static\"", method)
	}
	return six
}

// host6 reads an address with its network, such as "2001:db8:5::2/64".
func (r *reader) host6(key, got string) netip.Prefix {
	p, err := netip.ParsePrefix(got)
	if err != nil || !Global(p.Addr()) || p.Bits() < shortestPrefix {
		r.bad(key, "got %q, want a global IPv6 address with its prefix length, such as \"2001:db8:5::2/64\"", got)
		return netip.Prefix{}
	}
	if p.Bits() < 127 && p.Addr() == p.Masked().Addr() {
		r.bad(key, "got %q, the network's first address, which means any router; want another", got)
	}
	return p
}

func (r *reader) addr6(key, got string) netip.Addr {
	a, err := netip.ParseAddr(got)
	if err != nil || !Global(a) {
		r.bad(key, "got %q, want a global IPv6 address of a host, such as \"2001:db8::1\"", got)
		return netip.Addr{}
	}
	return a
}

func (r *reader) gateway6(key, got string, in netip.Prefix) netip.Addr {
	a, err := netip.ParseAddr(got)
	ok := err == nil && a.Is6() && a.Zone() == "" && (a.IsLinkLocalUnicast() || in.IsValid() && in.Contains(a) && a != in.Addr())
	if !ok && in.IsValid() {
		r.bad(key, "got %q, want a link-local address or another inside %s", got, in.Masked())
	}
	return a
}

// network6 reads a prefix whose host bits are zero.
func (r *reader) network6(key, got string) netip.Prefix {
	p, err := netip.ParsePrefix(got)
	if err != nil || !Global(p.Addr()) || p != p.Masked() {
		r.bad(key, "got %q, want an IPv6 network such as \"2001:db8:50::/56\"", got)
		return netip.Prefix{}
	}
	return p
}

// Global reports whether a host may be reached at the address from beyond its
// link: neither link-local nor multicast nor IPv4 in disguise.
func Global(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && a.IsGlobalUnicast() && !netip.MustParsePrefix("::/96").Contains(a)
}
