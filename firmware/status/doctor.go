package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// A Check is one question of the diagnosis. They stand in the order in which one
// thing needs another: mend the first that is wrong and look again.
type Check struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // "ok", "wrong" or "unknown"
	Says     string    `json:"says"`
	Findings []Finding `json:"findings"` // why, and what to do
}

// Checks asks everything. Every finding of the verdict is under one check.
func Checks(b Box, now time.Time) []Check {
	left := Judge(b).Findings
	take := func(belongs func(Finding) bool) (mine []Finding) {
		rest := left[:0:0]
		for _, f := range left {
			if belongs(f) {
				mine = append(mine, f)
			} else {
				rest = append(rest, f)
			}
		}
		left = rest
		return mine
	}
	id := func(prefixes ...string) func(Finding) bool {
		return func(f Finding) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(f.ID, p) })
		}
	}
	by := func(program string) func(Finding) bool {
		return func(f Finding) bool { return f.Program == program }
	}
	site, programs := take(id("site.")), take(id("program."))
	checks := []Check{
		{"site file", "ok", saysSite(b), site},
		{"programs", "ok", saysPrograms(b), append(programs, take(by("init"))...)},
		{"clinic network", "ok", saysLAN(b), take(id("lan.", "pair.no-"))},
		{"clinic address", "ok", saysPair(b), append(take(id("pair.")), take(by("failoverd"))...)},
		{"tunnel", "ok", saysTunnels(b), take(id("tunnel."))},
		{"internet lines", "ok", saysLines(b), take(by("netd"))},
		{"card readers", "ok", saysCards(b), take(by("cardauth"))},
		{"records and uploads", "ok", saysSync(b, now), append(take(id("disk.")), take(by("syncd"))...)},
	}
	checks[4], checks[5] = checks[5], checks[4] // taken first, but a tunnel needs a line
	if len(left) > 0 {
		checks = append(checks, Check{"the rest", "ok", "", left})
	}
	for i := range checks {
		serious := func(f Finding) bool { return f.Severity != wire.Note }
		switch {
		case slices.ContainsFunc(checks[i].Findings, serious):
			checks[i].State = "wrong"
		case checks[i].Says == unknown:
			checks[i].State = unknown
		}
	}
	return checks
}

// unknown is what a program that does not run has to say.
const unknown = "unknown"

// Doctor writes the diagnosis for people.
func Doctor(b Box, now time.Time, width int) string {
	s := &screen{width: max(width, 40) - 1}
	checks := Checks(b, now)
	wrong := 0
	for i, c := range checks {
		word := c.State
		switch word {
		case "wrong":
			word = "WRONG"
			wrong++
		case unknown:
			word = "?"
		}
		s.line(fmt.Sprintf("%d %s", i+1, word), "%-21s%s", c.Name, c.Says)
	}
	s.rule()
	if wrong == 0 {
		s.line("", "nothing is wrong")
	} else {
		s.line("", "mend the first thing first: what is below often needs what is above")
	}
	for i, c := range checks {
		for j, f := range c.Findings {
			s.lines = append(s.lines, "")
			if j == 0 {
				s.line(fmt.Sprintf("%d", i+1), "%s", strings.ToUpper(c.Name))
			}
			s.finding(f, now)
		}
	}
	return strings.Join(s.lines, "\n") + "\n"
}

func saysSite(b Box) string {
	if b.SiteErr != "" {
		return "not usable"
	}
	return fmt.Sprintf("%s (%s)", b.Site.Name, b.Site.Code)
}

func saysPrograms(b Box) string {
	var live, not []string
	for _, p := range programs(b) {
		if p.presence == Live {
			live = append(live, p.name)
		} else {
			not = append(not, p.name)
		}
	}
	text := "running: " + strings.Join(live, " ")
	if len(not) > 0 {
		text += "; not: " + strings.Join(not, " ")
	}
	return text
}

func saysLAN(b Box) string {
	if b.Net.Presence != Live {
		return unknown
	}
	link := "no link"
	if b.Net.V.LAN.Carrier {
		link = "link"
	}
	return fmt.Sprintf("%s: %s, %s", b.Net.V.LAN.Port, link, b.Net.V.LAN.Address)
}

func saysPair(b Box) string {
	if b.Pair.Presence != Live {
		return unknown
	}
	var all []string
	for _, g := range b.Pair.V.Groups {
		all = append(all, fmt.Sprintf("%s of %s", g.Role, list(g.Addresses)))
	}
	return strings.Join(all, "; ")
}

func saysTunnels(b Box) string {
	if b.Net.Presence != Live {
		return unknown
	}
	var all []string
	for _, t := range b.Net.V.Tunnels {
		all = append(all, fmt.Sprintf("%s %s: %s", t.Name, t.State, t.Reason))
	}
	return strings.Join(all, "; ")
}

func saysLines(b Box) string {
	if b.Net.Presence != Live {
		return unknown
	}
	var all []string
	for _, u := range b.Net.V.Uplinks {
		all = append(all, u.Name+" "+u.State)
	}
	return strings.Join(all, ", ")
}

func saysCards(b Box) string {
	if b.Card.Presence != Live {
		return unknown
	}
	n := len(b.Card.V.Sessions)
	return fmt.Sprintf("%s, %s", plural(len(b.Card.V.Readers), "reader", "readers"), plural(n, "session", "sessions"))
}

func saysSync(b Box, now time.Time) string {
	if b.Sync.Presence != Live {
		return unknown
	}
	return fmt.Sprintf("%s; EHR answered %s", waits(b), ascii.Ago(b.Sync.V.Cache.LastContact, now))
}
