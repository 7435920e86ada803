package plan

import (
	"net/netip"
	"slices"

	"clinicgate/netd/config"
)

// Six is an uplink's IPv6. Hosts of the clinic choose the provider by the source
// address they use, so beside the layout above there is, for IPv6 only:
//
//	rule 7400+i      from the prefix of uplink i, while it is usable → table 7100+i
//
// While it is not, its prefix follows the default route, and the firewall gives
// such packets an address of the way they take.
type Six struct {
	Addresses []netip.Prefix // ours on the link
	Gateway   netip.Addr     // invalid: no way out
	Prefix    netip.Prefix   // the clinic's by this provider; invalid: none
	Usable    bool           // new flows may take it
}

// rulePrefix is the first priority of rules for the clinic's prefixes.
const rulePrefix = 7400

// Active6 returns the uplink by which IPv6 goes that no prefix binds: that of IPv4
// if it is usable, or else the first that is, or else the first with a gateway.
// -1: there is none.
func Active6(ups []Uplink, active int) int {
	usable := func(u Uplink) bool { return u.Six.Usable && u.Six.Gateway.IsValid() }
	if active >= 0 && active < len(ups) && usable(ups[active]) {
		return active
	}
	if i := slices.IndexFunc(ups, usable); i >= 0 {
		return i
	}
	return slices.IndexFunc(ups, func(u Uplink) bool { return u.Six.Gateway.IsValid() })
}

// six adds what IPv6 needs. Routes carry no preferred source: the kernel refuses
// one that is still being checked for duplicates, and takes the device's own
// address anyway (RFC 6724, rule 5).
func (k *Kernel) six(c config.Config, ups []Uplink, active int) {
	if !c.HasSix() {
		return
	}
	k.Rules = append(k.Rules, Rule{Priority: ruleMain, Table: tableMain, NoDefault: true, Six: true})
	for i, u := range c.Uplinks {
		k.sixUplink(u.Port, i, ups[i].Six)
	}
	if a := Active6(ups, active); a >= 0 {
		k.Routes = append(k.Routes, toGateway6(c.Uplinks[a].Port, tableMain, ups[a].Six.Gateway))
	}
	for _, p := range Prefixes(c, ups) {
		// What is the clinic's and nowhere in it must not go back to the provider,
		// who would send it here again (RFC 7084, WPD-5).
		k.Routes = append(k.Routes, Route{Table: tableMain, Dst: p, Metric: metricGuard, Unreachable: true})
		for _, z := range c.Zones {
			if own := Own6(z, p); own.IsValid() {
				k.Addrs = append(k.Addrs, Addr{Dev: z.Port, Prefix: own})
			}
		}
	}
}

func (k *Kernel) sixUplink(dev string, i int, s Six) {
	for _, a := range s.Addresses {
		k.Addrs = append(k.Addrs, Addr{Dev: dev, Prefix: a, NoRoute: true})
		k.Routes = append(k.Routes, Route{Table: Table(i), Dst: a.Masked(), Metric: metric, Dev: dev})
		k.Rules = append(k.Rules, Rule{Priority: ruleFrom + i, From: netip.PrefixFrom(a.Addr(), 128), Table: Table(i), Six: true})
	}
	if !s.Gateway.IsValid() {
		return
	}
	k.Routes = append(k.Routes, toGateway6(dev, Table(i), s.Gateway))
	k.Rules = append(k.Rules, Rule{Priority: ruleMark + i, Mark: Mark(i), Mask: MarkMask, Table: Table(i), Six: true})
	if s.Prefix.IsValid() && s.Usable {
		k.Rules = append(k.Rules, Rule{Priority: rulePrefix + i, From: s.Prefix, Table: Table(i), Six: true})
	}
}

func toGateway6(dev string, table int, gw netip.Addr) Route {
	return Route{Table: table, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Metric: metric, Dev: dev, Via: gw, OnLink: true}
}

// Prefixes are the clinic's IPv6 prefixes: its own that never changes, and those
// of the providers. One that overlaps another before it is left out.
func Prefixes(c config.Config, ups []Uplink) []netip.Prefix {
	var all []netip.Prefix
	add := func(p netip.Prefix) {
		if p.IsValid() && !slices.ContainsFunc(all, p.Overlaps) {
			all = append(all, p)
		}
	}
	add(c.Six.Local)
	for _, u := range ups {
		add(u.Six.Prefix)
	}
	return all
}

// Subnet is the /64 of zone z in p; invalid: p has none for it. Zones that can't
// reach the internet have addresses of the clinic's own prefix only.
func Subnet(z config.Zone, p netip.Prefix) netip.Prefix {
	if !p.IsValid() || p.Bits() > 64 || z.Subnet >= 1<<min(64-p.Bits(), 16) || !local(p) && !z.Internet() {
		return netip.Prefix{}
	}
	b := p.Masked().Addr().As16()
	b[6] |= byte(z.Subnet >> 8)
	b[7] |= byte(z.Subnet)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

func local(p netip.Prefix) bool { return p.Addr().IsPrivate() }

// Own6 is this box's address in the zone's /64 of p: its IPv4 address there is
// the last part, so that the boxes of a pair differ and people recognise it.
func Own6(z config.Zone, p netip.Prefix) netip.Prefix {
	s := Subnet(z, p)
	if !s.IsValid() {
		return s
	}
	b, own := s.Addr().As16(), z.Address.Addr().As4()
	copy(b[12:], own[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}
