package apply

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"clinicgate/netd/plan"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// state is what of the kernel's state is ours, in the plan's words and as the
// kernel said it.
type state struct {
	addrs  []addr
	routes []route
	rules  []rule
}

type addr struct {
	plan  plan.Addr
	raw   netlink.Addr // IPv4 only
	index int          // IPv6 only: of its device
}

type route struct {
	plan plan.Route
	raw  netlink.Route
}

type rule struct {
	plan plan.Rule
	raw  netlink.Rule
}

// A dump that others' changes interrupted may miss entries; it is repeated.
const dumps = 5

func dump[T any](list func() ([]T, error)) ([]T, error) {
	var all []T
	var err error
	for range dumps {
		all, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// ours lists what carries our marks.
func (w *work) ours() (state, error) {
	names := map[int]string{}
	links, err := dump(w.h.LinkList)
	if err != nil {
		return state{}, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var s state
	addrs, err := dump(func() ([]netlink.Addr, error) { return w.h.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return state{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if isOurs(a) {
			s.addrs = append(s.addrs, addr{plan: planAddr(a, names), raw: a})
		}
	}
	six, err := dump(func() ([]addr, error) { return addrs6(names) })
	if err != nil {
		return state{}, err
	}
	s.addrs = append(s.addrs, six...)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := w.routing(&s, family, names); err != nil {
			return state{}, err
		}
	}
	return s, nil
}

// routing lists our routes and rules of one family.
func (w *work) routing(s *state, family int, names map[int]string) error {
	// Table 0 in the filter means: all tables.
	filter := &netlink.Route{Protocol: plan.Protocol}
	routes, err := dump(func() ([]netlink.Route, error) {
		return w.h.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Protocol == plan.Protocol {
			s.routes = append(s.routes, route{planRoute(r, family, names), r})
		}
	}
	rules, err := dump(func() ([]netlink.Rule, error) { return w.h.RuleList(family) })
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, r := range rules {
		if r.Protocol == plan.Protocol {
			r.Family = family
			s.rules = append(s.rules, rule{planRule(r), r})
		}
	}
	return nil
}

func planAddr(a netlink.Addr, names map[int]string) plan.Addr {
	return plan.Addr{Dev: names[a.LinkIndex], Prefix: prefix(a.IPNet), NoRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0}
}

func planRoute(r netlink.Route, family int, names map[int]string) plan.Route {
	p := plan.Route{
		Table:       r.Table,
		Dst:         netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		Metric:      r.Priority,
		Unreachable: r.Type == unix.RTN_UNREACHABLE,
		Dev:         names[r.LinkIndex],
		Via:         address(r.Gw),
		OnLink:      r.Flags&unix.RTNH_F_ONLINK != 0,
		Src:         address(r.Src),
	}
	if family == unix.AF_INET6 {
		p.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Dst != nil {
		p.Dst = prefix(r.Dst)
	}
	for i, h := range r.MultiPath[:min(len(r.MultiPath), len(p.Hops))] {
		p.Hops[i] = plan.Hop{Dev: names[h.LinkIndex], Via: address(h.Gw), Weight: h.Hops + 1}
	}
	if p.Unreachable {
		p.Dev = "" // IPv6 says lo
	}
	return p
}

func planRule(r netlink.Rule) plan.Rule {
	p := plan.Rule{Priority: r.Priority, Mark: r.Mark, Table: r.Table, NoDefault: r.SuppressPrefixlen == 0, Six: r.Family == unix.AF_INET6}
	if r.Mask != nil && r.Mark != 0 {
		p.Mask = *r.Mask
	}
	if r.Src != nil {
		p.From = prefix(r.Src)
	}
	return p
}

func (w *work) routeFrom(r plan.Route) *netlink.Route {
	raw := &netlink.Route{
		Family: familyOf(r.Dst), Protocol: plan.Protocol, Table: r.Table, Dst: ipNet(r.Dst), Priority: r.Metric,
		Scope: netlink.SCOPE_LINK,
	}
	if r.Unreachable {
		raw.Type, raw.Scope = unix.RTN_UNREACHABLE, netlink.SCOPE_UNIVERSE
		return raw
	}
	if r.Hops[0].Weight > 0 {
		raw.MultiPath, raw.Scope = w.hopsFrom(r), netlink.SCOPE_UNIVERSE
		return raw
	}
	raw.LinkIndex = w.links[r.Dev].Attrs().Index
	if r.Via.IsValid() {
		raw.Gw, raw.Scope = r.Via.AsSlice(), netlink.SCOPE_UNIVERSE
	}
	if r.OnLink {
		raw.Flags = unix.RTNH_F_ONLINK
	}
	if r.Src.IsValid() {
		raw.Src = r.Src.AsSlice()
	}
	return raw
}

// hopsFrom leaves the source address to the kernel, which takes the hop's device's.
func (w *work) hopsFrom(r plan.Route) []*netlink.NexthopInfo {
	var all []*netlink.NexthopInfo
	for _, h := range r.Hops {
		if h.Weight > 0 {
			all = append(all, &netlink.NexthopInfo{
				LinkIndex: w.links[h.Dev].Attrs().Index, Hops: h.Weight - 1, Gw: h.Via.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
			})
		}
	}
	return all
}

func ruleFrom(r plan.Rule) *netlink.Rule {
	raw := netlink.NewRule()
	raw.Family, raw.Protocol = unix.AF_INET, plan.Protocol
	if r.Six {
		raw.Family = unix.AF_INET6
	}
	raw.Priority, raw.Table = r.Priority, r.Table
	if r.Mark != 0 {
		mask := r.Mask
		raw.Mark, raw.Mask = r.Mark, &mask
	}
	if r.From.IsValid() {
		raw.Src = ipNet(r.From)
	}
	if r.NoDefault {
		raw.SuppressPrefixlen = 0
	}
	return raw
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(address(n.IP), bits)
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
