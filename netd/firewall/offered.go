package firewall

import (
	"slices"

	"clinicgate/netd/config"
)

// offered opens what the box serves a zone with, without a word in the site file.
func (b book) offered(z config.Zone) []string {
	if b.six {
		return nil
	}
	var rules []string
	if slices.ContainsFunc(b.c.DHCP, func(d config.Addresses) bool { return d.Zone == z.Name }) {
		rules = append(rules, "-p udp --sport 68 --dport 67 -j ACCEPT")
	}
	if b.c.DNS != nil {
		rules = append(rules, "-p udp --dport 53 -j ACCEPT", "-p tcp --dport 53 -j ACCEPT")
	}
	if b.c.NTP != nil {
		rules = append(rules, "-p udp --dport 123 -j ACCEPT")
	}
	return rules
}
