package plan

import (
	"fmt"
	"strings"
)

// String returns the state as `ip` would show it, for people and golden tests.
func (k Kernel) String() string {
	var b strings.Builder
	for _, l := range k.Links {
		fmt.Fprintln(&b, l)
	}
	for _, a := range k.Addrs {
		fmt.Fprintln(&b, a)
	}
	for _, r := range k.Rules {
		fmt.Fprintln(&b, r)
	}
	for _, r := range k.Routes {
		fmt.Fprintln(&b, r)
	}
	for _, q := range k.Queues {
		fmt.Fprintln(&b, q)
	}
	return b.String()
}

func (l Link) String() string {
	s := "link " + l.Dev + " up"
	if l.MTU > 0 {
		s += fmt.Sprintf(" mtu %d", l.MTU)
	}
	if l.Tag.VLAN > 0 {
		s += fmt.Sprintf(" vlan %d of %s", l.Tag.VLAN, l.Tag.Parent)
	}
	return s
}

func (a Addr) String() string {
	s := fmt.Sprintf("addr %s dev %s", a.Prefix, a.Dev)
	if a.NoRoute {
		s += " noprefixroute"
	}
	return s
}

func (r Route) String() string {
	dst := r.Dst.String()
	if r.Dst.Bits() == 0 {
		dst = "default"
	}
	s := "route"
	if r.Dst.Addr().Is6() {
		s = "route -6"
	}
	if r.Unreachable {
		s += " unreachable"
	}
	s += " " + dst
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	if r.Dev != "" {
		s += " dev " + r.Dev
	}
	s += fmt.Sprintf(" table %d", r.Table)
	if r.Src.IsValid() {
		s += " src " + r.Src.String()
	}
	if r.Metric > 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	if r.OnLink {
		s += " onlink"
	}
	for _, h := range r.Hops {
		if h.Weight > 0 {
			s += fmt.Sprintf(" nexthop via %s dev %s weight %d onlink", h.Via, h.Dev, h.Weight)
		}
	}
	return s
}

func (r Rule) String() string {
	s := fmt.Sprintf("rule %d from ", r.Priority)
	if r.Six {
		s = fmt.Sprintf("rule -6 %d from ", r.Priority)
	}
	switch {
	case r.From.IsValid() && r.From.IsSingleIP():
		s += r.From.Addr().String()
	case r.From.IsValid():
		s += r.From.String()
	default:
		s += "all"
	}
	if r.Mark != 0 {
		s += fmt.Sprintf(" fwmark %#x/%#x", r.Mark, r.Mask)
	}
	s += fmt.Sprintf(" lookup %d", r.Table)
	if r.NoDefault {
		s += " suppress_prefixlength 0"
	}
	return s
}
