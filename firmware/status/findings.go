package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// findings collects the programs' faults and what shows from outside. The same
// trouble told by several programs is one finding.
func findings(b Box) []Finding {
	all := outside(b)
	for _, p := range programs(b) {
		if p.presence != Live {
			continue // a dead program's faults are the past
		}
		for _, f := range p.head.Faults {
			all = merge(all, Finding{Program: p.name, Fault: f, Stops: slices.Contains(stopping[:], f.ID)})
		}
	}
	if b.Panel.Presence == Live {
		for _, f := range b.Panel.V.Faults {
			all = merge(all, Finding{Program: "panel", Fault: f})
		}
	}
	all = append(all, untold(b, all)...)
	slices.SortStableFunc(all, func(x, y Finding) int { return rank(x) - rank(y) })
	return all
}

// stopping are the faults with which a part of the clinic's work can't go on: no
// card can be read, no record shown or no upload taken.
var stopping = [...]string{
	"site.unusable", "site.missing",
	"card.no-pcscd", "card.no-reader", "card.token-key",
	"sync.store", "sync.disk-full", "sync.tls-missing", "sync.endpoint-down",
}

// merge adds f unless the same is there already from somebody else.
func merge(all []Finding, f Finding) []Finding {
	for i, old := range all {
		if old.ID == f.ID && old.What == f.What && (old.Where != f.Where || old.Program != f.Program) {
			all[i].Where += ", " + f.Where
			return all
		}
	}
	return append(all, f)
}

// untold makes findings of states that are not good though their program raised
// no fault that names them.
func untold(b Box, told []Finding) (all []Finding) {
	add := func(program, id, where, name, what, do string, since time.Time) {
		named := func(f Finding) bool {
			return f.Program == program && (strings.Contains(f.Where, name) || strings.Contains(f.What, name))
		}
		if !slices.ContainsFunc(told, named) {
			all = append(all, Finding{Program: program, Fault: wire.Fault{
				ID: id, Severity: wire.Warning, Where: where + " " + name, What: what, Do: do, Since: since,
			}})
		}
	}
	if b.Net.Presence == Live {
		for _, u := range b.Net.V.Uplinks {
			if u.State != wire.UplinkUp {
				add("netd", "uplink."+u.State, "line", u.Name, u.State+": "+u.Reason,
					"check the cables and the power of "+u.Name+"'s modem, then call "+u.Name, u.Since)
			}
		}
		for _, t := range b.Net.V.Tunnels {
			if t.State != wire.TunnelUp && t.State != wire.TunnelStandby {
				add("netd", "tunnel."+t.State, "tunnel", t.Name, t.State+": "+t.Reason,
					"when a line works and the tunnel does not, tell cloud ops", t.Since)
			}
		}
	}
	if b.Sync.Presence == Live {
		for _, d := range b.Sync.V.Destinations {
			if d.State == "unreachable" || d.State == "refusing" {
				add("syncd", "destination."+d.State, "destination", d.Name, d.State+": "+d.Reason,
					"nothing is lost: uploads wait and are sent when it answers; if lines and tunnel work, call "+d.Name, d.Since)
			}
		}
	}
	return all
}

func rank(f Finding) int {
	switch {
	case f.Stops:
		return 0
	case f.Severity == wire.Alarm:
		return 1
	case f.Severity == wire.Warning:
		return 2
	}
	return 3
}

// minFree is the part of the data partition below which uploads are refused soon.
const minFree = 0.01

// outside finds what no running program can say of itself.
func outside(b Box) []Finding {
	var all []Finding
	add := func(id, where, what, do string) {
		all = append(all, Finding{Program: "gatectl", Stops: true, Fault: wire.Fault{
			ID: id, Severity: wire.Alarm, Where: where, What: what, Do: do,
		}})
	}
	if b.SiteErr != "" {
		add("site.unusable", "site file", b.SiteErr, "bring a site file from cloud ops; `gatectl site check FILE` tells what is wrong with one")
	}
	for _, p := range programs(b) {
		if p.presence == Live || p.name == "init" {
			continue // without init there is no console; off the box it is not expected
		}
		what := map[Presence]string{
			Missing: p.name + " has not started", Dead: p.name + " does not run: " + p.why,
			Unreadable: fmt.Sprintf("what %s published can't be read: %s", p.name, p.why),
		}[p.presence]
		add("program."+string(p.presence), "program "+p.name, what,
			fmt.Sprintf("it is started again by itself; if it stays so, `gatectl log %s` says why", p.name))
	}
	if b.Pair.Presence == Live {
		for _, g := range b.Pair.V.Groups {
			if g.Role == wire.RoleInit {
				add("pair.out", "group "+g.Name, fmt.Sprintf("this box does not offer %s to the clinic: %s", list(g.Addresses), g.Reason),
					"mend the cause; the other box of a pair serves meanwhile")
			}
		}
	}
	if d, ok := disk(b); ok && float64(d.Free) < minFree*float64(d.Total) && !tells(b.Sync.V.Header, "sync.disk-full") {
		add("disk.full", "data partition", fmt.Sprintf("%s free of %s", ascii.Size(d.Free), ascii.Size(d.Total)),
			"bring an internet line back so that waiting uploads leave; then ask cloud ops")
	}
	return all
}

func tells(h wire.Header, id string) bool {
	return slices.ContainsFunc(h.Faults, func(f wire.Fault) bool { return f.ID == id })
}

func disk(b Box) (wire.Disk, bool) {
	if b.Sync.Presence != Live || b.Sync.V.Disk.Total <= 0 {
		return wire.Disk{}, false
	}
	return b.Sync.V.Disk, true
}
