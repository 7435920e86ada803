package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/uplink"
)

// Flow is what the first packet of a new connection tells.
type Flow struct {
	Src, Dst netip.Addr // IPv4
	Proto    string     // as in config.Match; empty: some
	Port     uint16     // of the destination; 0: none
	DSCP     int
}

// Classify returns the class of a flow from the clinic and the match that made it
// so, in words; -1 when no class is spoken of. netd/firewall writes the same as rules.
func Classify(c config.Config, f Flow) (int, string) {
	for k, class := range c.Classes {
		for _, m := range class.Match {
			if meets(f, m) {
				return k, m.String()
			}
		}
	}
	office := func(class config.Class) bool { return class.Name == config.Office && len(class.Uplinks) > 0 }
	return slices.IndexFunc(c.Classes, office), ""
}

func meets(f Flow, m config.Match) bool {
	switch {
	case m.From.IsValid() && !m.From.Contains(f.Src), m.To.IsValid() && !m.To.Contains(f.Dst):
		return false
	case m.Proto != "" && m.Proto != f.Proto, m.DSCP >= 0 && m.DSCP != f.DSCP:
		return false
	}
	return m.First == 0 || f.Port >= m.First && f.Port <= m.Last
}

// Lookup finds the rule and the route by which the kernel, were it just in this
// state, would send an IPv4 packet that is not for the box itself.
func (k Kernel) Lookup(src, dst netip.Addr, mark uint32) (Rule, Route, bool) {
	rules := append(slices.Clone(k.Rules), Rule{Priority: 32766, Table: tableMain})
	for _, r := range rules {
		if r.Six || r.From.IsValid() && !r.From.Contains(src) || mark&r.Mask != r.Mark {
			continue
		}
		if route, ok := k.longest(r.Table, dst); ok && !(r.NoDefault && route.Dst.Bits() == 0) {
			return r, route, true
		}
	}
	return Rule{}, Route{}, false
}

// longest is the table's most specific route, the one of the lowest metric of several.
func (k Kernel) longest(table int, dst netip.Addr) (best Route, found bool) {
	try := func(r Route) {
		better := !found || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric
		if r.Table == table && r.Dst.Contains(dst) && better {
			best, found = r, true
		}
	}
	for _, a := range k.Addrs { // the kernel adds these to main by itself
		if !a.NoRoute {
			try(Route{Table: tableMain, Dst: a.Prefix.Masked(), Dev: a.Dev, Src: a.Prefix.Addr()})
		}
	}
	for _, r := range k.Routes {
		try(r)
	}
	return best, found
}

// Why says which way a new flow takes, and why not another. active is what Active
// said; reasons are the uplinks' own words for their states. Device and Agrees are
// left to be filled in by who can ask the kernel.
func Why(c config.Config, ups []Uplink, active int, reasons []string, f Flow) wire.FlowWay {
	w := explanation{wire.FlowWay{Src: f.Src.String(), Dst: f.Dst.String(), Proto: f.Proto, Port: f.Port, DSCP: f.DSCP}}
	class := -1
	if zone := zoneOf(c, f.Src); zone != "" && !own(c, f.Src) {
		class, w.Match = Classify(c, f)
		w.class(c, class, zone)
	} else {
		w.say("%s is not a computer of the clinic: classes don't apply", f.Src)
	}
	mark := uint32(0)
	if class >= 0 {
		mark = ClassMark(class)
	}
	w.Mark = fmt.Sprintf("%#x", mark)
	rule, route, found := Make(c, ups, active).Lookup(f.Src, f.Dst, mark)
	w.Rule, w.Table = rule.Priority, rule.Table
	if !found {
		w.Kind = wire.WayNone
		w.say("no uplink has an address: there is no way out")
		return w.FlowWay
	}
	w.Route = route.String()
	w.way(c, ups, class, rule, route)
	w.wall(c, f.Src)
	if w.Kind == wire.WayUplink || w.Kind == wire.WayRefused {
		w.others(c, ups, class, reasons)
	}
	return w.FlowWay
}

// explanation is an answer in the making.
type explanation struct{ wire.FlowWay }

func (w *explanation) say(format string, args ...any) {
	w.FlowWay.Why = append(w.FlowWay.Why, fmt.Sprintf(format, args...))
}

func (w *explanation) class(c config.Config, class int, zone string) {
	switch {
	case class < 0:
		w.Class = config.Office
		w.say("%s is in %s; no class matches: office, which has no uplinks of its own", w.Src, zone)
	case w.Match == "":
		w.Class = c.Classes[class].Name
		w.say("%s is in %s; no class matches: office", w.Src, zone)
	default:
		w.Class = c.Classes[class].Name
		w.say("%s is in %s; it is %s by its match %q", w.Src, zone, w.Class, w.Match)
	}
}

// way names where the route leads.
func (w *explanation) way(c config.Config, ups []Uplink, class int, rule Rule, route Route) {
	if route.Unreachable {
		w.Kind = wire.WayRefused
		if rule.Table == tableMain {
			w.say("%s is behind a tunnel that is not there, and must not leave in clear", w.Dst)
			return
		}
		w.say("class %s takes no uplink but its own, and none of them can be used", w.Class)
		return
	}
	for _, t := range c.Tunnels {
		if t.Device == route.Dev {
			w.Kind, w.Name = wire.WayTunnel, t.Name
			w.say("%s is in %s, which tunnel %s leads to", w.Dst, route.Dst, t.Name)
			return
		}
	}
	for _, z := range c.Zones {
		if z.Port == route.Dev {
			w.Kind, w.Name = wire.WayZone, z.Name
			w.say("%s is in %s, which is in the clinic", w.Dst, route.Dst)
			return
		}
	}
	w.Kind = wire.WayUplink
	w.parts(c, route)
	switch {
	case rule.Table == ClassTable(max(class, 0)) && class >= 0:
		w.say("class %s has uplinks of its own, and %s is the best of them that can be used", w.Class, w.names())
	case rule.From.IsValid():
		w.say("%s is this box's address on %s", w.Src, w.names())
	case class >= 0 && len(c.Classes[class].Uplinks) > 0:
		w.say("none of class %s's own uplinks can be used: it goes as any other", w.Class)
		fallthrough
	default:
		w.general(c, ups)
	}
}

// wall says when the firewall lets nobody of the source's zone open connections there.
func (w *explanation) wall(c config.Config, src netip.Addr) {
	for _, z := range c.Zones {
		shut := w.Kind == wire.WayUplink && !z.Internet() || w.Kind == wire.WayTunnel && !z.Tunnels()
		if shut && z.Address.Masked().Contains(src) && z.Address.Addr() != src {
			w.say("but the firewall lets nobody in %s, which is for %s, open connections there", z.Name, z.Kind)
		}
	}
}

// general says why the default route is as it is.
func (w *explanation) general(c config.Config, ups []Uplink) {
	usable := slices.ContainsFunc(ups, func(u Uplink) bool { return uplink.Usable(u.State) })
	switch {
	case !usable:
		w.say("no uplink can be used; %s has an address at least", w.names())
	case len(w.Uplinks) > 1:
		w.say("new flows are spread over %s by their addresses and ports", w.names())
	default:
		w.say("new flows take %s", w.names())
	}
	w.say("open connections stay with the uplink they have")
}

func (w *explanation) names() string {
	s := ""
	for i, p := range w.Uplinks {
		if i > 0 {
			s += ", "
		}
		s += p.Name
		if len(w.Uplinks) > 1 {
			s += fmt.Sprintf(" (%d %%)", p.Percent)
		}
	}
	return s
}

// parts lists the uplinks of a route.
func (w *explanation) parts(c config.Config, route Route) {
	hops, total := []Hop{{Dev: route.Dev, Weight: 1}}, 0
	if route.Hops[0].Weight > 0 {
		hops = route.Hops[:]
	}
	for _, h := range hops {
		total += h.Weight
	}
	for _, h := range hops {
		for _, u := range c.Uplinks {
			if u.Port == h.Dev && h.Weight > 0 {
				w.Uplinks = append(w.Uplinks, wire.UplinkPart{Name: u.Name, Device: h.Dev, Percent: h.Weight * 100 / total})
			}
		}
	}
}

// others says of each uplink that is not taken why.
func (w *explanation) others(c config.Config, ups []Uplink, class int, reasons []string) {
	var list []int
	if class >= 0 {
		list = c.Classes[class].Uplinks
	}
	for i, u := range c.Uplinks {
		if slices.ContainsFunc(w.Uplinks, func(p wire.UplinkPart) bool { return p.Name == u.Name }) {
			continue
		}
		why := "another one goes before it"
		switch {
		case !uplink.Usable(ups[i].State):
			why = ups[i].State + ": " + reasons[i]
		case w.Table == ClassTable(max(class, 0)) && !slices.Contains(list, i):
			why = "class " + w.Class + " does not name it"
		case ups[i].State == wire.UplinkDegraded:
			why = ups[i].State + ": " + reasons[i]
		case ups[i].Spent:
			why = "its cap for the month is used up: a last resort"
		case u.Role == config.LastResort:
			why = "it is a last resort"
		}
		w.Others = append(w.Others, u.Name+": "+why)
	}
}

// zoneOf names the part of the clinic that an address is in; empty: none.
func zoneOf(c config.Config, a netip.Addr) string {
	for _, z := range c.Zones {
		if z.Address.Masked().Contains(a) {
			return z.Name
		}
	}
	return ""
}

// own reports whether an address is this box's in the clinic.
func own(c config.Config, a netip.Addr) bool {
	return slices.ContainsFunc(c.Zones, func(z config.Zone) bool { return z.Address.Addr() == a })
}
