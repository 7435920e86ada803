package plan

import (
	"cmp"
	"slices"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/uplink"
)

// A Share is an uplink that takes new flows, and its weight among those that do.
type Share struct {
	Uplink int
	Weight int
}

// Active returns the uplink that netd itself and the tunnels prefer: the first of
// Shares. With none usable the last one stays while it has an address (moving dead
// traffic helps no one), or else the first with an address, so that a box whose
// probe targets are gone still has a way out. -1: no uplink has an address.
func Active(c config.Config, ups []Uplink, current int) int {
	if all := Shares(c, ups, current); len(all) > 0 {
		return all[0].Uplink
	}
	if current >= 0 && current < len(ups) && ups[current].Address.IsValid() {
		return current
	}
	return slices.IndexFunc(ups, func(u Uplink) bool { return u.Address.IsValid() })
}

// Shares returns the uplinks that take the new flows of no particular class, the
// most preferred first: the first usable primary one and every usable shared one;
// or else the cheapest last resort. One that is up goes before one that is degraded;
// of degraded ones the current stays, as changing between them helps nobody. None
// is usable: none.
func Shares(c config.Config, ups []Uplink, current int) []Share {
	for _, last := range []bool{false, true} {
		for _, state := range []string{wire.UplinkUp, wire.UplinkDegraded} {
			group := members(c, ups, last, state)
			if len(group) == 0 {
				continue
			}
			if last {
				return weighted(c, cheapest(c, group))
			}
			return weighted(c, takers(c, group, state == wire.UplinkDegraded, current)...)
		}
	}
	return nil
}

// members lists the uplinks of one kind in one state.
func members(c config.Config, ups []Uplink, last bool, state string) []int {
	var all []int
	for i, u := range ups {
		if u.State == state && u.Address.IsValid() && lastResort(c, ups, i) == last {
			all = append(all, i)
		}
	}
	return all
}

// lastResort reports whether uplink i is one: by its role, or as its cap is used up.
func lastResort(c config.Config, ups []Uplink, i int) bool {
	return c.Uplinks[i].Role == config.LastResort || ups[i].Spent
}

// takers are those of a group that take new flows.
func takers(c config.Config, group []int, stay bool, current int) []int {
	var primary, shared []int
	for _, i := range group {
		switch {
		case c.Uplinks[i].Role == config.Shared:
			shared = append(shared, i)
		case len(primary) == 0:
			primary = []int{i}
		case stay && i == current:
			primary = []int{i}
		}
	}
	return append(primary, shared...)
}

// cheapest is the one of the lowest price, the first of several.
func cheapest(c config.Config, group []int) int {
	return slices.MinFunc(group, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.Uplinks[a].Price, c.Uplinks[b].Price), cmp.Compare(a, b))
	})
}

func weighted(c config.Config, all ...int) []Share {
	shares := make([]Share, len(all))
	for n, i := range all {
		shares[n] = Share{Uplink: i, Weight: max(c.Uplinks[i].Weight, 1)}
	}
	return shares
}

// ClassShares returns the uplinks that take a class's new flows. own is false when
// the class leaves it to Shares; none with own means: refused.
func ClassShares(c config.Config, class config.Class, ups []Uplink) (all []Share, own bool) {
	if len(class.Uplinks) == 0 {
		return nil, false
	}
	rank := func(i int) int {
		r := 0
		if ups[i].State == wire.UplinkDegraded {
			r++
		}
		if ups[i].Spent {
			r += 2
		}
		return r
	}
	var usable []int
	for _, i := range class.Uplinks {
		if uplink.Usable(ups[i].State) && ups[i].Address.IsValid() {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		return nil, class.Strict
	}
	slices.SortStableFunc(usable, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	n := 1
	for class.Spread && n < len(usable) && rank(usable[n]) == rank(usable[0]) {
		n++
	}
	return weighted(c, usable[:n]...), true
}

// defaultRoute sends what has no other route by the shares' uplinks.
func defaultRoute(c config.Config, table, metric int, ups []Uplink, shares []Share) Route {
	first := shares[0].Uplink
	if len(shares) == 1 {
		return toGateway(c.Uplinks[first].Port, table, metric, ups[first])
	}
	r := Route{Table: table, Dst: everywhere(), Metric: metric}
	for n, s := range shares {
		r.Hops[n] = Hop{Dev: c.Uplinks[s.Uplink].Port, Via: ups[s.Uplink].Gateway, Weight: s.Weight}
	}
	return r
}

// classes adds a table for each class that has uplinks of its own. Where none of
// them is usable the table is empty and the kernel goes on to main, unless the
// class wants no other.
func (k *Kernel) classes(c config.Config, ups []Uplink) {
	for n, class := range c.Classes {
		shares, own := ClassShares(c, class, ups)
		if len(class.Uplinks) == 0 {
			continue
		}
		k.Rules = append(k.Rules, Rule{Priority: ruleClass + n, Mark: ClassMark(n), Mask: ClassMask, Table: ClassTable(n)})
		switch {
		case len(shares) > 0:
			k.Routes = append(k.Routes, defaultRoute(c, ClassTable(n), 0, ups, shares))
		case own:
			k.Routes = append(k.Routes, Route{Table: ClassTable(n), Dst: everywhere(), Metric: metricGuard, Unreachable: true})
		}
	}
}
