package firewall

import (
	"fmt"
	"slices"

	"clinicgate/netd/config"
)

// What one source may do to the box. A source is an address; outside, where one
// host has as many IPv6 addresses as it likes, a /64.
const (
	zoneRate   = 200  // new connections a second
	zoneBurst  = 1000 // ... and so many at once
	zoneFlows  = 1024 // TCP connections at a time
	wanRate    = 10   // likewise for anyone outside
	wanBurst   = 40   // ...
	wanFlows   = 64   // ...
	guestFlows = 2048 // connections at a time through the box
	sources    = 8192 // that are counted at a time; about 1 MB
)

// bogons are sources that no packet from outside can have. Private ones are not
// among them: modems and carriers' routers send from such, and what they say of a
// narrow path must arrive.
var (
	bogons4 = [...]string{"0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "224.0.0.0/3"}
	bogons6 = [...]string{"::1/128", "::ffff:0:0/96", "::/96", "100::/64", "2002::/16", "ff00::/8"}
)

// spoofed drops what lies about where it comes from, before the kernel remembers
// anything of it.
func (b book) spoofed() []string {
	if !b.open() {
		return nil
	}
	var rules []string
	bogons := bogons4[:]
	if b.six {
		// A source route of the kind that RFC 5095 did away with.
		rules, bogons = append(rules, "-m rt --rt-type 0 -j DROP"), bogons6[:]
	}
	for _, u := range b.c.Uplinks {
		if b.six {
			// Of a host that has no address yet.
			rules = append(rules, fmt.Sprintf("-s ::/128 -i %s -p icmpv6 -j RETURN", u.Port))
		}
		for _, net := range b.clinic() {
			rules = append(rules, fmt.Sprintf("-s %s -i %s -j DROP", net, u.Port))
		}
		for _, net := range bogons {
			rules = append(rules, fmt.Sprintf("-s %s -i %s -j DROP", net, u.Port))
		}
	}
	for _, z := range b.c.Zones {
		for _, dev := range b.devices(z) {
			rules = append(rules, b.honest(z, dev)...)
		}
	}
	return append(rules, b.untracked()...)
}

// honest lets pass what may come from a zone, and drops the rest. IPv6 hosts may
// keep an address of a prefix that is gone: what claims no one else's network goes
// on to be told so.
func (b book) honest(z config.Zone, dev string) []string {
	var rules []string
	for _, net := range b.nets(z) {
		rules = append(rules, fmt.Sprintf("-s %s -i %s -j RETURN", net, dev))
	}
	if !b.six {
		return append(rules,
			fmt.Sprintf("-s 0.0.0.0/32 -i %s -p udp --dport 67 -j RETURN", dev), // asks for an address
			fmt.Sprintf("-s 0.0.0.0/32 -i %s -p 2 -j RETURN", dev),              // IGMP of a switch without one
			fmt.Sprintf("-i %s -j DROP", dev))
	}
	rules = append(rules, fmt.Sprintf("-s ::/128 -i %s -p icmpv6 -j RETURN", dev))
	for _, net := range b.clinic() {
		rules = append(rules, fmt.Sprintf("-s %s -i %s -j DROP", net, dev))
	}
	return rules
}

// flood drops new connections of a source beyond a rate. The count goes on when
// another generation takes over.
func flood(name string, rate, burst, one int) string {
	return fmt.Sprintf("-m conntrack --ctstate NEW,UNTRACKED -m hashlimit --hashlimit-above %d/sec --hashlimit-burst %d --hashlimit-mode srcip --hashlimit-srcmask %d"+
		" --hashlimit-name %s --hashlimit-htable-max %d --hashlimit-htable-expire 10000 -j DROP", rate, burst, one, name, sources)
}

// crowd drops new connections of a source that has many.
func crowd(dev, proto string, flows, one int) string {
	s := "-m conntrack --ctstate NEW"
	if proto != "" {
		s = "-p " + proto + " " + s
	}
	if dev != "" {
		s = "-i " + dev + " " + s
	}
	return s + " " + perSource(flows, one)
}

func perSource(flows, one int) string {
	return fmt.Sprintf("-m connlimit --connlimit-above %d --connlimit-mask %d --connlimit-saddr -j DROP", flows, one)
}

// inside is the length of a prefix that counts as one source in the clinic.
func (b book) inside() int {
	if b.six {
		return 128
	}
	return 32
}

// outsider is that of one outside.
func (b book) outsider() int {
	if b.six {
		return 64
	}
	return 32
}

// outside are the TCP services that anyone may ask for.
func (b book) outside() []config.Service {
	if !b.proxy || !b.open() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(b.c.Firewall.WAN), func(s config.Service) bool { return s.Proto != "tcp" })
}

// untracked has the kernel not remember a SYN to a service that is open to anyone.
func (b book) untracked() []string {
	var rules []string
	for _, s := range b.outside() {
		for _, u := range b.c.Uplinks {
			rules = append(rules, fmt.Sprintf("-i %s -p tcp --dport %d --syn -m addrtype --dst-type LOCAL -j CT --notrack", u.Port, s.Port))
		}
	}
	return rules
}

// proxied answers such SYNs with a cookie. Only who sends it back, from an address
// that is its own, costs the kernel or a service anything. The packet that does
// starts a connection in the kernel's eyes (nf_conntrack_tcp_loose stays on, or
// connections that outlive an uplink would hang instead of being reset): new, and
// no SYN.
func (b book) proxied() []string {
	mss := 1460
	if b.six {
		mss = 1440
	}
	var rules []string
	for _, s := range b.outside() {
		for _, u := range b.c.Uplinks {
			to := fmt.Sprintf("-i %s -p tcp --dport %d", u.Port, s.Port)
			answer := fmt.Sprintf("-j SYNPROXY --sack-perm --timestamp --wscale 7 --mss %d", mss)
			late := to + " ! --syn -m conntrack --ctstate NEW,INVALID "
			rules = append(rules,
				to+" --syn "+flood("cg-syn", wanRate, wanBurst, b.outsider()),
				to+" --syn -m conntrack --ctstate UNTRACKED "+answer,
				late+perSource(wanFlows, b.outsider()), late+answer)
		}
	}
	return rules
}
