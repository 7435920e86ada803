package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"
)

// A book writes the rules of one family. Values come from a checked configuration:
// names and addresses hold nothing that iptables-restore could misread.
type book struct {
	c        config.Config
	six      bool
	prefixes []netip.Prefix // IPv6: the clinic's by each provider, in order of the uplinks
	proxy    bool           // the kernel can answer SYNs in a server's stead
}

// chains returns the rules. The hooks are always the same, so that each generation
// takes the place of the one before whole.
func (b book) chains() []chain {
	all := []chain{
		{table: "raw", hook: "PREROUTING", rules: b.spoofed()},
		{table: "mangle", hook: "PREROUTING", rules: b.sticky()},
		{table: "mangle", hook: "FORWARD", rules: []string{
			// Paths through a tunnel are narrower than the LAN, and not all let
			// the ICMP message through that would say so.
			"-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
		}},
		{table: "mangle", hook: "POSTROUTING", rules: stick(b.c)},
		{table: "nat", hook: "POSTROUTING", rules: b.masquerade()},
		{table: "filter", hook: "FORWARD", deny: true, rules: b.forward()},
		{table: "filter", hook: "INPUT", deny: true, rules: b.input()},
	}
	if !b.open() {
		return all
	}
	for _, z := range b.c.Zones {
		all = append(all, chain{table: "filter", name: "in-" + z.Name, rules: b.fromZone(z)})
	}
	all = append(all, chain{table: "filter", name: "in-wan", rules: b.fromWAN()})
	if b.six {
		all = append(all, chain{table: "filter", name: "near", rules: neighbours})
	}
	return all
}

// open reports whether anything passes in this family. While the clinic has no
// IPv6 nothing does: a router advertisement of a provider or of a laptop changes
// nothing.
func (b book) open() bool { return !b.six || b.c.HasSix() }

// devices are those by which the zone's packets of this family come in.
func (b book) devices(z config.Zone) []string {
	other := "-6"
	if b.six {
		other = "-4"
	}
	return append([]string{z.Port}, slices.DeleteFunc(slices.Clone(z.Virtual), func(dev string) bool { return strings.HasSuffix(dev, other) })...)
}

// nets are the zone's networks in this family.
func (b book) nets(z config.Zone) []netip.Prefix {
	if !b.six {
		return []netip.Prefix{z.Address.Masked()}
	}
	var all []netip.Prefix
	for _, p := range append([]netip.Prefix{b.c.Six.Local}, b.prefixes...) {
		if s := plan.Subnet(z, p); s.IsValid() && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// clinic are all networks that only the clinic's side may send from.
func (b book) clinic() []netip.Prefix {
	var all []netip.Prefix
	if b.six {
		for _, p := range append([]netip.Prefix{b.c.Six.Local}, b.prefixes...) {
			if p.IsValid() && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
		return all
	}
	for _, z := range b.c.Zones {
		all = append(all, z.Address.Masked())
	}
	if h := b.c.HA; h != nil {
		all = append(all, h.Address.Masked())
	}
	for _, t := range b.c.Tunnels {
		all = append(all, t.Routes...)
	}
	return all
}

// sticky lets the packets of a connection from the clinic go where its first went:
// the connection's mark becomes the packet's, which chooses the table.
func (b book) sticky() []string {
	var rules []string
	c := b.c
	if b.six {
		c = sixClasses(c)
	}
	for _, z := range b.c.Zones {
		for _, dev := range b.devices(z) {
			rules = append(rules, fmt.Sprintf("-i %s -j CONNMARK --restore-mark --nfmask %#x --ctmask %#x", dev, keptMask, keptMask))
			rules = append(rules, classify(c, dev)...)
		}
	}
	return rules
}

// stick marks a new connection with the uplink it leaves by. Its address is
// rewritten to that uplink's once and for all, so it must never leave by another.
func stick(c config.Config) []string {
	var rules []string
	for i, u := range c.Uplinks {
		rules = append(rules, fmt.Sprintf("-o %s -m connmark --mark 0x0/%#x -j CONNMARK --set-xmark %#x/%#x",
			u.Port, plan.MarkMask, plan.Mark(i), plan.MarkMask), keepClass(u.Port))
	}
	for _, t := range c.Tunnels {
		if t.Class >= 0 {
			rules = append(rules, keepClass(t.Device))
		}
	}
	return append(rules, enqueue(c)...)
}

// masquerade hides the clinic behind the box's address on every way out. Behind
// the tunnel too: a thousand clinics have the same LAN. In IPv6 what has an address
// of the provider's that it leaves by keeps it. Where the uplink has an address of the
// pair's, the clinic is behind that one: its connections go on at the other box.
func (b book) masquerade() []string {
	var rules []string
	for i, u := range b.c.Uplinks {
		if b.six {
			if i < len(b.prefixes) && b.prefixes[i].IsValid() {
				rules = append(rules, fmt.Sprintf("-s %s -o %s -j RETURN", b.prefixes[i], u.Port))
			}
			rules = append(rules, fmt.Sprintf("-o %s -m addrtype --src-type LOCAL --limit-iface-out -j RETURN", u.Port))
		}
		if u.Paired.Address.IsValid() && !b.six {
			for _, z := range b.c.Zones {
				if z.Internet() {
					rules = append(rules, fmt.Sprintf("-s %s -o %s -j SNAT --to-source %s", z.Address.Masked(), u.Port, u.Paired.Address))
				}
			}
		}
		rules = append(rules, fmt.Sprintf("-o %s -j MASQUERADE", u.Port))
	}
	if b.six {
		return rules // tunnels carry IPv4
	}
	for _, t := range b.c.Tunnels {
		for _, z := range b.c.Zones {
			if z.Tunnels() {
				rules = append(rules, fmt.Sprintf("-s %s -o %s -j MASQUERADE", z.Address.Masked(), t.Device))
			}
		}
	}
	return rules
}

// known lets pass what belongs to a known connection, and not what belongs to none.
var known = [...]string{
	"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	"-m conntrack --ctstate INVALID -j DROP",
}

// forward is the matrix of who may open connections to whom through the box.
func (b book) forward() []string {
	if !b.open() {
		return nil
	}
	rules := slices.Clone(known[:])
	for _, z := range b.c.Zones {
		for _, dev := range b.devices(z) {
			if z.Kind == config.KindGuests {
				rules = append(rules, crowd(dev, "", guestFlows, b.inside()))
			}
			for _, net := range b.nets(z) {
				from := fmt.Sprintf("-s %s -i %s", net, dev)
				for _, to := range b.beyond(z) {
					rules = append(rules, fmt.Sprintf("%s -o %s -j ACCEPT", from, to))
				}
			}
			if b.six && z.Internet() {
				// Hosts hold on to addresses of a prefix that is gone until they
				// are told so (RFC 7084, L-14).
				rules = append(rules, fmt.Sprintf("-i %s -j REJECT --reject-with icmp6-policy-fail", dev))
			}
		}
	}
	return rules
}

// beyond are the devices by which members of z may leave the box.
func (b book) beyond(z config.Zone) []string {
	var devs []string
	if z.Internet() {
		for _, u := range b.c.Uplinks {
			devs = append(devs, u.Port)
		}
	}
	if z.Tunnels() && !b.six {
		for _, t := range b.c.Tunnels {
			devs = append(devs, t.Device)
		}
	}
	for _, o := range b.c.Zones {
		if slices.Contains(z.Reaches, o.Name) {
			devs = append(devs, o.Port)
		}
	}
	return devs
}

// input is what the box itself answers.
func (b book) input() []string {
	rules := []string{"-i lo -j ACCEPT"}
	if !b.open() {
		return append(rules, known[0])
	}
	rules = append(rules, b.lifeline()...)
	rules = append(rules, b.near()...)
	rules = append(rules, known[0])
	rules = append(rules, b.proxied()...)
	rules = append(rules, known[1])
	for _, z := range b.c.Zones {
		for _, dev := range b.devices(z) {
			for _, net := range b.nets(z) {
				rules = append(rules, fmt.Sprintf("-s %s -i %s -j %sin-%s", net, dev, here, z.Name))
			}
			if b.six {
				rules = append(rules, fmt.Sprintf("-s fe80::/10 -i %s -j %sin-%s", dev, here, z.Name))
			} else { // a host that asks for its address
				rules = append(rules, fmt.Sprintf("-s 0.0.0.0/32 -i %s -p udp --dport 67 -j %sin-%s", dev, here, z.Name))
			}
		}
	}
	rules = append(rules, b.cable()...)
	rules = append(rules, b.fromTunnel()...)
	for _, u := range b.c.Uplinks {
		rules = append(rules, fmt.Sprintf("-i %s -j %sin-wan", u.Port, here))
	}
	return rules
}

// page is where the box shows itself to people.
var page = [...]config.Service{{Proto: "icmp"}, {Proto: "tcp", Port: 80}, {Proto: "tcp", Port: 443}}

// lifeline is what a technician's port answers whatever else the site file says
// and whatever floods the box: nothing is counted or limited before it.
func (b book) lifeline() []string {
	var rules []string
	for _, z := range b.c.Zones {
		if z.Kind != config.KindService {
			continue
		}
		for _, s := range page {
			rules = append(rules, fmt.Sprintf("-i %s %s -j ACCEPT", z.Port, b.match(s)))
		}
	}
	return rules
}

// fromZone is what members of a zone may ask of the box. What keeps a pair together
// is not counted with the rest.
func (b book) fromZone(z config.Zone) []string {
	var rules []string
	vrrp := config.Service{Proto: "vrrp"}
	if slices.Contains(z.Serves, vrrp) {
		rules = append(rules, b.match(vrrp)+" -j ACCEPT")
		if !b.six {
			// A switch asks who wants the advertisements, and forgets who is silent
			// (IGMP; the box has no file of protocols' names).
			rules = append(rules, "-d 224.0.0.0/4 -p 2 -j ACCEPT")
		}
	}
	rules = append(rules, flood("cg-zone", zoneRate, zoneBurst, b.inside()), crowd("", "tcp", zoneFlows, b.inside()))
	for _, s := range z.Serves {
		if s != vrrp {
			rules = append(rules, b.match(s)+" -j ACCEPT")
		}
	}
	return append(rules, b.offered(z)...)
}

// fromTunnel is what those behind the hub may ask of the box: what the site file
// opens. It has no IPv6 inside.
func (b book) fromTunnel() []string {
	var rules []string
	for _, t := range b.c.Tunnels {
		for _, s := range b.c.Firewall.Tunnel {
			if !b.six {
				rules = append(rules, fmt.Sprintf("-i %s %s -j ACCEPT", t.Device, b.match(s)))
			}
		}
	}
	return rules
}

// fromWAN is what anyone may ask of the box: what the site file opens.
func (b book) fromWAN() []string {
	if len(b.c.Firewall.WAN) == 0 {
		return nil
	}
	rules := []string{flood("cg-wan", wanRate, wanBurst, b.outsider()), crowd("", "tcp", wanFlows, b.outsider())}
	for _, s := range b.c.Firewall.WAN {
		rules = append(rules, b.match(s)+" -j ACCEPT")
	}
	return rules
}

// cable opens what the pair's other box may ask on the cable between the two: from
// its address to ours, and nothing from it passes through.
func (b book) cable() []string {
	if b.c.HA == nil || b.six {
		return nil
	}
	var rules []string
	for _, s := range b.c.HA.Services {
		rules = append(rules, fmt.Sprintf("-s %s/32 -d %s/32 -i %s %s -j ACCEPT", b.c.HA.Peer, b.c.HA.Address.Addr(), b.c.HA.Port, b.match(s)))
	}
	return rules
}

// match is a service in iptables' words. Protocol 112 is VRRP (RFC 9568), whose
// advertisements go to 224.0.0.18 and ff02::12.
func (b book) match(s config.Service) string {
	switch {
	case s.Proto == "icmp" && b.six:
		return "-p icmpv6 --icmpv6-type echo-request"
	case s.Proto == "icmp":
		return "-p icmp --icmp-type echo-request"
	case s.Proto == "vrrp" && b.six:
		return "-d ff02::12/128 -p 112"
	case s.Proto == "vrrp":
		return "-d 224.0.0.18/32 -p 112"
	}
	return fmt.Sprintf("-p %s --dport %d", s.Proto, s.Port)
}
