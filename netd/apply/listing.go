package apply

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxListed bounds a listing, in lines of a kind: a box has some fifty.
const maxListed = 1000

// Listing is what the kernel has, whoever put it there: devices, addresses, rules and
// the routes of all tables. A part that can't be had says why.
func (k *Kernel) Listing() string {
	var b strings.Builder
	list := func(kind string, lines []string, err error) {
		if err != nil {
			lines = []string{err.Error()}
		}
		fmt.Fprintf(&b, "# %s\n%s\n", kind, strings.Join(lines[:min(len(lines), maxListed)], "\n"))
	}
	links, err := k.h.LinkList()
	list("devices", each(links, func(l netlink.Link) string {
		a := l.Attrs()
		return fmt.Sprintf("%d %s %s %s mtu %d %s", a.Index, a.Name, l.Type(), a.OperState, a.MTU, a.HardwareAddr)
	}), err)
	addrs, err := k.h.AddrList(nil, unix.AF_UNSPEC)
	list("addresses", each(addrs, func(a netlink.Addr) string { return fmt.Sprintf("device %d %s %s", a.LinkIndex, a.IPNet, a.Label) }), err)
	rules, err := k.h.RuleList(unix.AF_UNSPEC)
	list("rules", each(rules, func(r netlink.Rule) string { return r.String() }), err)
	routes, err := k.h.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	list("routes", each(routes, func(r netlink.Route) string { return r.String() }), err)
	return b.String()
}

func each[T any](all []T, say func(T) string) []string {
	lines := make([]string, 0, len(all))
	for _, x := range all {
		lines = append(lines, say(x))
	}
	return lines
}
