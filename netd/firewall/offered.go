package firewall

import (
	"slices"

	"clinicgate/netd/config"
)

// offered opens what the box serves a zone with, without a word in the site file. Of
// that only the resolver has IPv6.
func (b book) offered(z config.Zone) []string {
	var rules []string
	if !b.six && slices.ContainsFunc(b.c.DHCP, func(d config.Addresses) bool { return d.Zone == z.Name }) {
		rules = append(rules, "-p udp --sport 68 --dport 67 -j ACCEPT")
	}
	if b.c.DNS != nil {
		rules = append(rules, "-p udp --dport 53 -j ACCEPT", "-p tcp --dport 53 -j ACCEPT")
	}
	if b.c.NTP != nil && !b.six {
		rules = append(rules, "-p udp --dport 123 -j ACCEPT")
	}
	return rules
}
