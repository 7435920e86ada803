package firewall

import (
	"fmt"
	"slices"

	"clinicgate/netd/config"
)

// neighbours is what IPv6 can't live without (RFC 4890, §4.4), from the link only:
// a packet that a router passed on has lost its hop limit of 255, or of 1 where
// groups are asked for (RFC 4861, RFC 2710, RFC 3810).
var neighbours = []string{
	"-p icmpv6 --icmpv6-type neighbour-solicitation -m hl --hl-eq 255 -j ACCEPT",
	"-p icmpv6 --icmpv6-type neighbour-advertisement -m hl --hl-eq 255 -j ACCEPT",
	"-s fe80::/10 -p icmpv6 --icmpv6-type 130 -m hl --hl-eq 1 -j ACCEPT", // listener query
	"-s fe80::/10 -p icmpv6 --icmpv6-type 131 -m hl --hl-eq 1 -j ACCEPT", // ... report
	"-s fe80::/10 -p icmpv6 --icmpv6-type 132 -m hl --hl-eq 1 -j ACCEPT", // ... done
	"-s fe80::/10 -p icmpv6 --icmpv6-type 143 -m hl --hl-eq 1 -j ACCEPT", // ... report, version 2
}

// near opens what is between neighbours. Routers are asked for by the clinic's
// hosts; router advertisements and DHCPv6 answers are heard where a provider is
// asked, and nowhere else. netd reads them, not the kernel.
func (b book) near() []string {
	if !b.six {
		return nil
	}
	var rules []string
	add := func(dev, match, to string) {
		rules = append(rules, fmt.Sprintf("-i %s %s -j %s", dev, match, to))
	}
	for _, z := range b.c.Zones {
		for _, dev := range b.devices(z) {
			add(dev, "-p icmpv6", here+"near")
			add(dev, "-p icmpv6 --icmpv6-type router-solicitation -m hl --hl-eq 255", "ACCEPT")
		}
	}
	for _, u := range b.c.Uplinks {
		if u.Six.Method == config.SixOff {
			continue
		}
		add(u.Port, "-p icmpv6", here+"near")
		if u.Six.Method == config.SixAuto {
			add(u.Port, "-s fe80::/10 -p icmpv6 --icmpv6-type router-advertisement -m hl --hl-eq 255", "ACCEPT")
			add(u.Port, "-s fe80::/10 -d fe80::/10 -p udp --sport 547 --dport 546", "ACCEPT")
		}
	}
	return rules
}

// sixClasses leaves out matches by IPv4 addresses.
func sixClasses(c config.Config) config.Config {
	c.Classes = slices.Clone(c.Classes)
	for i := range c.Classes {
		c.Classes[i].Match = slices.DeleteFunc(slices.Clone(c.Classes[i].Match), func(m config.Match) bool {
			return m.From.IsValid() && m.From.Addr().Is4() || m.To.IsValid() && m.To.Addr().Is4()
		})
	}
	return c
}
