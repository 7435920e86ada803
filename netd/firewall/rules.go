// Package firewall holds the box's packet filter: everything is denied but what
// the site file opens and what was asked for from inside. A new set of rules is
// built beside the old one and switched to by one jump; when anything in it is
// refused by the kernel, the old one stands.
package firewall

import (
	"fmt"
	"strings"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"
)

// A chain is one of ours in the making: its rules hang below a built-in chain.
type chain struct {
	table string // iptables table
	hook  string // built-in chain that jumps to ours
	deny  bool   // the hook's policy is to drop
	rules []string
}

// key is the chain's part of a name: "cg-7-input" is generation 7's.
func (c chain) key() string {
	if c.table == "filter" {
		return strings.ToLower(c.hook)
	}
	return c.table + "-" + strings.ToLower(c.hook)
}

// anchor is the chain that stays; it holds the one jump to a generation.
func (c chain) anchor() string { return "cg-" + c.key() }

func (c chain) generation(n int) string { return fmt.Sprintf("cg-%d-%s", n, c.key()) }

// rules4 returns the rules for IPv4. Values come from a checked configuration:
// names and addresses hold nothing that iptables-restore could misread.
func rules4(c config.Config) []chain {
	return []chain{
		{table: "mangle", hook: "PREROUTING", rules: prerouting(c)},
		{table: "mangle", hook: "FORWARD", rules: []string{
			// Paths through a tunnel are narrower than the LAN, and not all let
			// the ICMP message through that would say so.
			"-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
		}},
		{table: "mangle", hook: "POSTROUTING", rules: stick(c)},
		{table: "nat", hook: "POSTROUTING", rules: masquerade(c)},
		{table: "filter", hook: "FORWARD", deny: true, rules: forward(c)},
		{table: "filter", hook: "INPUT", deny: true, rules: input(c)},
	}
}

// rules6 returns the rules for IPv6. No uplink carries it yet, so nothing passes:
// a router advertisement from a provider or a laptop in the LAN changes nothing.
func rules6() []chain {
	return []chain{
		{table: "filter", hook: "FORWARD", deny: true},
		{table: "filter", hook: "INPUT", deny: true, rules: []string{
			"-i lo -j ACCEPT",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		}},
	}
}

// prerouting lets the packets of a connection from the LAN go where its first
// went: the connection's mark becomes the packet's, which chooses the table.
func prerouting(c config.Config) []string {
	keep := fmt.Sprintf("-i %s -j CONNMARK --restore-mark --nfmask %#x --ctmask %#x", c.LAN.Port, keptMask, keptMask)
	return append([]string{keep}, classify(c, c.LAN.Port)...)
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
	return rules
}

// masquerade hides the LAN behind the box's address on every way out. Behind the
// tunnel too: a thousand clinics have the same LAN.
func masquerade(c config.Config) []string {
	var rules []string
	for _, u := range c.Uplinks {
		rules = append(rules, fmt.Sprintf("-o %s -j MASQUERADE", u.Port))
	}
	for _, t := range c.Tunnels {
		rules = append(rules, fmt.Sprintf("-s %s -o %s -j MASQUERADE", c.LAN.Address.Masked(), t.Device))
	}
	return rules
}

// common opens both INPUT and FORWARD: no one outside may claim an address of the
// LAN; what belongs to a known connection passes; what belongs to none does not.
func common(c config.Config) []string {
	var rules []string
	for _, u := range c.Uplinks {
		rules = append(rules, fmt.Sprintf("-s %s -i %s -j DROP", c.LAN.Address.Masked(), u.Port))
	}
	return append(rules,
		"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-m conntrack --ctstate INVALID -j DROP")
}

func forward(c config.Config) []string {
	rules := common(c)
	from := fmt.Sprintf("-s %s -i %s", c.LAN.Address.Masked(), c.LAN.Port)
	for _, u := range c.Uplinks {
		rules = append(rules, fmt.Sprintf("%s -o %s -j ACCEPT", from, u.Port))
	}
	for _, t := range c.Tunnels {
		rules = append(rules, fmt.Sprintf("%s -o %s -j ACCEPT", from, t.Device))
	}
	return rules
}

func input(c config.Config) []string {
	rules := append([]string{"-i lo -j ACCEPT"}, common(c)...)
	for _, s := range c.Firewall.LAN {
		rules = append(rules, fmt.Sprintf("-s %s -i %s %s -j ACCEPT", c.LAN.Address.Masked(), c.LAN.Port, match(s)))
	}
	rules = append(rules, cable(c)...)
	for _, u := range c.Uplinks {
		for _, s := range c.Firewall.WAN {
			rules = append(rules, fmt.Sprintf("-i %s %s -j ACCEPT", u.Port, match(s)))
		}
	}
	return rules
}

// cable opens what the pair's other box may ask on the cable between the two: from
// its address to ours, and nothing from it passes through.
func cable(c config.Config) []string {
	if c.HA == nil {
		return nil
	}
	var rules []string
	for _, s := range c.HA.Services {
		rules = append(rules, fmt.Sprintf("-s %s/32 -d %s/32 -i %s %s -j ACCEPT", c.HA.Peer, c.HA.Address.Addr(), c.HA.Port, match(s)))
	}
	return rules
}

// match is a service in iptables' words. Protocol 112 is VRRP (RFC 9568), whose
// advertisements go to 224.0.0.18.
func match(s config.Service) string {
	switch s.Proto {
	case "icmp":
		return "-p icmp --icmp-type echo-request"
	case "vrrp":
		return "-d 224.0.0.18/32 -p 112"
	default:
		return fmt.Sprintf("-p %s --dport %d", s.Proto, s.Port)
	}
}

// build is the input of iptables-restore that makes generation n. Nothing jumps
// to it yet, so a refusal at any line changes nothing for any packet.
func build(chains []chain, n int) string {
	return restore(chains, func(b *strings.Builder, c chain) {
		fmt.Fprintf(b, ":%s - [0:0]\n", c.generation(n))
		for _, r := range c.rules {
			fmt.Fprintf(b, "-A %s %s\n", c.generation(n), r)
		}
	})
}

// turn is the input that makes generation n the one in force. Naming a chain of
// ours empties it, and each table is one transaction of the kernel: no packet
// meets an empty anchor. jump puts the anchors first in their hooks as well.
func turn(chains []chain, n int, jump bool) string {
	return restore(chains, func(b *strings.Builder, c chain) {
		if c.deny {
			fmt.Fprintf(b, ":%s DROP [0:0]\n", c.hook)
		}
		fmt.Fprintf(b, ":%s - [0:0]\n-A %s -j %s\n", c.anchor(), c.anchor(), c.generation(n))
		if jump {
			fmt.Fprintf(b, "-I %s 1 -j %s\n", c.hook, c.anchor())
		}
	})
}

// restore writes the chains' parts, one section per table. Chains of one table
// stand together in the list.
func restore(chains []chain, part func(*strings.Builder, chain)) string {
	var b strings.Builder
	for i, c := range chains {
		if i == 0 || chains[i-1].table != c.table {
			fmt.Fprintf(&b, "*%s\n", c.table)
		}
		part(&b, c)
		if i == len(chains)-1 || chains[i+1].table != c.table {
			b.WriteString("COMMIT\n")
		}
	}
	return b.String()
}
