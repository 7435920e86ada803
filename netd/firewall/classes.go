package firewall

import (
	"fmt"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"
)

// keptMask is what a connection remembers of its first packet: uplink and class.
const keptMask = plan.MarkMask | plan.ClassMask

// classify marks what comes from a port of the clinic with its class, once per
// connection: later packets have it from the connection. Bulk goes before office,
// which is the rest. Without classes in the site file there is nothing to mark.
func classify(c config.Config, from string) []string {
	var rules []string
	mark := func(k int, match string) {
		rules = append(rules, fmt.Sprintf("-i %s -m mark --mark 0x0/%#x%s -j MARK --set-xmark %#x/%#x",
			from, plan.ClassMask, match, plan.ClassMark(k), plan.ClassMask))
	}
	office := -1
	for k, class := range c.Classes {
		for _, m := range class.Match {
			mark(k, matchFlow(m))
		}
		if class.Name == config.Office && len(class.Uplinks) > 0 {
			office = k
		}
	}
	if office >= 0 {
		mark(office, "")
	}
	return rules
}

// matchFlow is a match in iptables' words.
func matchFlow(m config.Match) string {
	s := ""
	if m.From.IsValid() {
		s += fmt.Sprintf(" -s %s", m.From)
	}
	if m.To.IsValid() {
		s += fmt.Sprintf(" -d %s", m.To)
	}
	if m.Proto != "" {
		s += " -p " + m.Proto
	}
	switch {
	case m.First != 0 && m.First == m.Last:
		s += fmt.Sprintf(" --dport %d", m.First)
	case m.First != 0:
		s += fmt.Sprintf(" --dport %d:%d", m.First, m.Last)
	}
	if m.DSCP >= 0 {
		s += fmt.Sprintf(" -m dscp --dscp %d", m.DSCP)
	}
	return s
}

// keepClass has a connection that leaves by a port remember its class.
func keepClass(to string) string {
	return fmt.Sprintf("-o %s -m connmark --mark 0x0/%#x -j CONNMARK --save-mark --nfmask %#x --ctmask %#x", to, plan.ClassMask, plan.ClassMask, plan.ClassMask)
}

// enqueue chooses each packet's place in the queue of an uplink that has one; office's
// is that of packets without a class.
func enqueue(c config.Config) []string {
	var rules []string
	for _, u := range c.Uplinks {
		for k, name := range config.ClassNames() {
			if u.Up > 0 && name != config.Office {
				rules = append(rules, fmt.Sprintf("-o %s -m mark --mark %#x/%#x -j CLASSIFY --set-class %x:%x",
					u.Port, plan.ClassMark(k), plan.ClassMask, plan.QueueMajor, plan.QueueClass(k)))
			}
		}
	}
	return rules
}
