package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Classes of flows, most important first. What matches neither Clinical nor Bulk
// is Office.
const (
	Clinical = "clinical"
	Office   = "office"
	Bulk     = "bulk"
)

// ClassNames are the classes in their order of importance; Config.Classes has one
// of each in this order.
func ClassNames() [3]string { return [3]string{Clinical, Office, Bulk} }

// Class says which flows are of one class and by which uplinks they go.
type Class struct {
	Name    string
	Match   []Match // any of these; none for Office
	Uplinks []int   // indexes, preferred first; none: by the uplinks' roles
	Spread  bool    // over all usable ones of Uplinks by weight, not by the first
	Strict  bool    // by no other than Uplinks: refused when none is usable
}

// A Match is met by a flow that has all it names.
type Match struct {
	From, To    netip.Prefix // invalid: any
	Proto       string       // "tcp", "udp", "icmp"; empty: any
	First, Last uint16       // destination ports, tcp and udp only
	DSCP        int          // -1: any
}

// classSection is [net.class.NAME] as written.
type classSection struct {
	Match []struct {
		From    string `toml:"from"`
		To      string `toml:"to"`
		Service string `toml:"service"`
		DSCP    *int   `toml:"dscp"`
	} `toml:"match"`
	Uplinks []string `toml:"uplinks"`
	Spread  bool     `toml:"spread"`
	Strict  bool     `toml:"strict"`
}

type classesSection struct {
	Clinical classSection `toml:"clinical"`
	Office   classSection `toml:"office"`
	Bulk     classSection `toml:"bulk"`
}

const maxMatches = 64

func (r *reader) classes(s classesSection, c *Config) {
	for i, cs := range []classSection{s.Clinical, s.Office, s.Bulk} {
		name := ClassNames()[i]
		key := "net.class." + name
		class := Class{Name: name, Spread: cs.Spread, Strict: cs.Strict}
		if name == Office && len(cs.Match) > 0 {
			r.bad(key+".match", "office is what the other classes don't match, want no match here")
		}
		if len(cs.Match) > maxMatches {
			r.bad(key+".match", "got %d, want at most %d", len(cs.Match), maxMatches)
		}
		for _, m := range cs.Match {
			match := Match{From: r.part(key+".match", m.From), To: r.part(key+".match", m.To), DSCP: -1}
			match.Proto, match.First, match.Last = r.flowService(key+".match", m.Service)
			if m.DSCP != nil {
				if match.DSCP = *m.DSCP; match.DSCP < 0 || match.DSCP > 63 {
					r.bad(key+".match", "got dscp %d, want 0 to 63", match.DSCP)
				}
			}
			if match == (Match{DSCP: -1}) {
				r.bad(key+".match", "got a match of everything, want from, to, service or dscp in it")
			}
			class.Match = append(class.Match, match)
		}
		class.Uplinks = r.uplinkNames(key+".uplinks", cs.Uplinks, c)
		if (cs.Spread || cs.Strict) && len(cs.Uplinks) == 0 {
			r.bad(key, "got spread or strict without uplinks, want the uplinks it is about")
		}
		c.Classes = append(c.Classes, class)
	}
}

// part reads a network, or a single address.
func (r *reader) part(key, got string) netip.Prefix {
	if got == "" {
		return netip.Prefix{}
	}
	if a, err := netip.ParseAddr(got); err == nil && a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	p, err := netip.ParsePrefix(got)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 || p != p.Masked() {
		r.bad(key, "got %q, want an IPv4 address or network such as \"203.0.113.0/24\"", got)
		return netip.Prefix{}
	}
	return p
}

// flowService reads "tcp/443", "udp/5000-5100", "tcp" or "icmp"; nothing is any.
func (r *reader) flowService(key, got string) (proto string, first, last uint16) {
	if got == "" {
		return "", 0, 0
	}
	proto, ports, has := strings.Cut(got, "/")
	low, high, ranged := strings.Cut(ports, "-")
	if !ranged {
		high = low
	}
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(high, 10, 16)
	known := proto == "tcp" || proto == "udp" || proto == "icmp"
	switch {
	case known && !has:
		return proto, 0, 0
	case !known || proto == "icmp" || errA != nil || errB != nil || a == 0 || b < a:
		r.bad(key, "got service %q, want \"tcp/443\", \"udp/5000-5100\", \"tcp\", \"udp\" or \"icmp\"", got)
		return "", 0, 0
	}
	return proto, uint16(a), uint16(b)
}

// uplinkNames turns names into indexes.
func (r *reader) uplinkNames(key string, list []string, c *Config) []int {
	var all []int
	for _, name := range list {
		i := slices.IndexFunc(c.Uplinks, func(u Uplink) bool { return u.Name == name })
		switch {
		case i < 0:
			r.bad(key, "got %q, want the name of an uplink", name)
		case slices.Contains(all, i):
			r.bad(key, "%q is listed twice", name)
		default:
			all = append(all, i)
		}
	}
	return all
}

// String writes a match as people say it.
func (m Match) String() string {
	var parts []string
	if m.From.IsValid() {
		parts = append(parts, "from "+m.From.String())
	}
	if m.To.IsValid() {
		parts = append(parts, "to "+m.To.String())
	}
	switch {
	case m.First != 0 && m.First != m.Last:
		parts = append(parts, fmt.Sprintf("%s/%d-%d", m.Proto, m.First, m.Last))
	case m.First != 0:
		parts = append(parts, fmt.Sprintf("%s/%d", m.Proto, m.First))
	case m.Proto != "":
		parts = append(parts, m.Proto)
	}
	if m.DSCP >= 0 {
		parts = append(parts, fmt.Sprintf("dscp %d", m.DSCP))
	}
	return strings.Join(parts, ", ")
}
