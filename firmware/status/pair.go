package status

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// Master says in one line who has the clinic's addresses, since when and why.
func Master(b Box, now time.Time) string {
	if b.Pair.Presence != Live {
		return because("failoverd", b.Pair.Presence, head(b.Pair.V))
	}
	if len(b.Pair.V.Groups) == 0 {
		return "no address is shared: this box answers under its own only"
	}
	g := b.Pair.V.Groups[0] // the clinic's network comes first
	switch g.Role {
	case wire.RoleMaster:
		return ascii.Text(fmt.Sprintf("this box is master for %s: %s", ascii.Age(g.Since, now), g.Reason))
	case wire.RoleBackup:
		other := g.Peer
		if other == "" {
			other = "not heard yet"
		}
		return ascii.Text(fmt.Sprintf("the other box (%s) is master, this one has stood by for %s: %s", other, ascii.Age(g.Since, now), g.Reason))
	}
	return ascii.Text(fmt.Sprintf("this box has taken no part for %s: %s", ascii.Age(g.Since, now), g.Reason))
}

// Pair describes the two boxes of a pair: who is master, then each group, and what
// goes over the cable.
func Pair(b Box, now time.Time, width int) string {
	s := &screen{width: max(width, 40) - 1}
	s.text("MASTER", 3, "%s", Master(b, now))
	if b.Pair.Presence != Live {
		return strings.Join(s.lines, "\n") + "\n"
	}
	f := b.Pair.V
	for _, g := range f.Groups {
		s.text(g.Name, 3, "%s of %s for %s: %s", strings.ToUpper(g.Role), list(g.Addresses), ascii.Age(g.Since, now), g.Reason)
		worth := fmt.Sprintf("priority %d", g.Priority)
		if g.Basis != g.Priority {
			worth += fmt.Sprintf(" of %d", g.Basis)
		}
		if o, ok := otherOf(f, g.Name); ok {
			worth += fmt.Sprintf("; the other box: %s, priority %d, %s", o.Role, o.Priority, o.Address)
		} else if g.Peer != "" {
			worth += fmt.Sprintf("; %s heard %s ago", g.Peer, ascii.Age(g.PeerSeen, now))
		}
		s.text("", 2, "%s", worth)
	}
	for i, flaw := range f.Flaws {
		word := ""
		if i == 0 {
			word = "WORSE"
		}
		s.text(word, 2, "by %d: %s", flaw.Handicap, flaw.Why)
	}
	s.cable(f, now)
	return strings.Join(s.lines, "\n") + "\n"
}

// cable shows what goes between the boxes beside the clinic's network.
func (s *screen) cable(f *wire.Failover, now time.Time) {
	switch c := f.Cable; {
	case c == nil:
		s.line("CABLE", "none: the boxes know of each other by the clinic's network only")
	case c.Alive:
		s.line("CABLE", "the other box is heard, for %s", ascii.Age(c.Since, now))
	default:
		s.line("CABLE", "LOST for %s", ascii.Age(c.Since, now))
	}
	if fl := f.Flows; fl != nil {
		s.line("FLOWS", "%d given to the other box, %d held for it, %d ms behind", fl.Sent, fl.Held, fl.LagMS)
	}
	if t := f.Tunnel; t != nil {
		who := "the other box"
		if t.Run {
			who = "this box"
		}
		s.line("TUNNEL", "run by %s", who)
	}
}

func otherOf(f *wire.Failover, group string) (wire.Other, bool) {
	if f.Cable != nil {
		for _, o := range f.Cable.Other {
			if o.Group == group {
				return o, true
			}
		}
	}
	return wire.Other{}, false
}
