package status

import (
	"fmt"
	"strings"

	"clinicgate/firmware/wire"
)

// sentence says how the clinic is, in words that need no training.
func sentence(b Box, v Verdict) string {
	if b.SiteErr != "" && b.Net.Presence != Live {
		return "NOT SET UP: this box has no usable site file"
	}
	if len(v.Findings) > 0 && v.Findings[0].Stops {
		return "NEEDS HELP: " + v.Findings[0].What
	}
	if g, ok := backup(b); ok {
		other := g.Peer
		if other == "" {
			other = "not heard yet"
		}
		return fmt.Sprintf("STANDING BY: the other box (%s) serves the clinic", other)
	}
	good, bad := lines(b)
	switch {
	case len(good) == 0:
		return fmt.Sprintf("OFFLINE: no internet line works; records come from the cache, %s", waits(b))
	case tunnelsDown(b):
		return fmt.Sprintf("CUT OFF: internet works by %s, but not the tunnel; %s", list(good), waits(b))
	case len(bad) > 0:
		return fmt.Sprintf("WORKING WITHOUT %s: internet by %s, %s", list(bad), list(good), waits(b))
	case v.Level == Degraded:
		return fmt.Sprintf("WORKING, with %s; internet by %s, %s", plural(serious(v), "thing to look at", "things to look at"), list(good), waits(b))
	}
	return fmt.Sprintf("WORKING: internet by %s, %s", list(good), waits(b))
}

// backup returns the group this box stands by for, if it is master of none.
func backup(b Box) (found wire.Group, ok bool) {
	if b.Pair.Presence != Live {
		return wire.Group{}, false
	}
	for _, g := range b.Pair.V.Groups {
		switch g.Role {
		case wire.RoleMaster:
			return wire.Group{}, false
		case wire.RoleBackup:
			found, ok = g, true
		}
	}
	return found, ok
}

// lines names the uplinks that carry traffic and those that don't.
func lines(b Box) (good, bad []string) {
	if b.Net.Presence != Live {
		return nil, nil
	}
	for _, u := range b.Net.V.Uplinks {
		if u.State == wire.UplinkUp || u.State == wire.UplinkDegraded {
			good = append(good, u.Name)
		} else {
			bad = append(bad, u.Name)
		}
	}
	return good, bad
}

// tunnelsDown: there are tunnels, and none is up.
func tunnelsDown(b Box) bool {
	if b.Net.Presence != Live {
		return false
	}
	for _, t := range b.Net.V.Tunnels {
		if t.State == wire.TunnelUp || t.State == wire.TunnelStandby {
			return false
		}
	}
	return len(b.Net.V.Tunnels) > 0
}

// waits tells of the uploads.
func waits(b Box) string {
	if b.Sync.Presence != Live {
		return "uploads unknown"
	}
	n := 0
	for _, l := range b.Sync.V.Lanes {
		n += l.Waiting
	}
	if n == 0 {
		return "no uploads wait"
	}
	verb := "wait"
	if n == 1 {
		verb = "waits"
	}
	return plural(n, "upload", "uploads") + " " + verb
}

// serious counts the findings above a note.
func serious(v Verdict) (n int) {
	for _, f := range v.Findings {
		if f.Severity != wire.Note {
			n++
		}
	}
	return n
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func list(names []string) string { return strings.Join(names, " and ") }
