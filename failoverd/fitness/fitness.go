// Package fitness says how much worse than a healthy box this one is as the clinic's
// gateway, and why: facts and the time go in, a handicap comes out. It guarantees
// that a fact which comes and goes does not move the pair to and fro: what is worse
// counts after it has lasted, what is better after it has lasted longer.
package fitness

import (
	"fmt"
	"strings"
	"time"
)

// Facts is what is known of this box at one moment.
type Facts struct {
	Net     Program
	Uplinks int // configured
	Usable  int // of them

	Sync      Program
	SyncFault string // an alarm of syncd that keeps it from taking uploads; empty: none

	DiskTotal, DiskFree int64 // the data partition; total 0: unknown

	Heat Heat
}

// A Program is one whose state a box depends on.
type Program int

// States of a program. One that has said nothing yet is not worse than one that runs.
const (
	Unknown Program = iota
	Runs
	Dead
)

// Heat is how hot the box is, against the limits its hardware names.
type Heat struct {
	Zone     string // the hottest
	Milli    int    // thousandths of a degree Celsius; 0: no sensor
	Critical int    // where the hardware switches itself off; 0: not named
}

// A Flaw is one thing that makes this box worse.
type Flaw struct {
	Name     string // stable: "uplinks", "net", "sync", "disk", "heat"
	Handicap int
	Why      string // one clause
}

// What flaws cost. A box that serves with less must go on when the other is worse, so
// they add up. What stops the clinic's work costs more than what hinders it.
const (
	noUplink  = 100 // nobody reaches the internet through it
	netDead   = 100 // nobody mends its links
	syncDead  = 80  // no upload is taken
	lostOne   = 20  // times the share of uplinks that is lost
	diskFull  = 60  // uploads will be refused
	diskShort = 20
	tooHot    = 60 // it will switch itself off
	hot       = 20
)

// Limits.
const (
	fullShare   = 100 // a hundredth of the partition is left: full
	shortShare  = 20
	hotBelow    = 5_000  // thousandths of a degree below the critical one: about to stop
	warmBelow   = 15_000 //
	unnamedHeat = 95_000 // critical where the hardware names none
)

// Flaws judges the facts as they are.
func Flaws(f Facts) (all []Flaw) {
	add := func(name string, handicap int, format string, args ...any) {
		all = append(all, Flaw{name, handicap, fmt.Sprintf(format, args...)})
	}
	switch {
	case f.Net == Dead:
		add("net", netDead, "netd is not running")
	case f.Net == Runs && f.Uplinks > 0 && f.Usable == 0:
		add("uplinks", noUplink, "none of its %d internet lines works", f.Uplinks)
	case f.Net == Runs && f.Usable < f.Uplinks:
		add("uplinks", lostOne*(f.Uplinks-f.Usable)/f.Uplinks, "%d of its %d internet lines is out of use", f.Uplinks-f.Usable, f.Uplinks)
	}
	switch {
	case f.Sync == Dead:
		add("sync", syncDead, "syncd is not running")
	case f.Sync == Runs && f.SyncFault != "":
		add("sync", syncDead, "syncd takes no uploads (%s)", f.SyncFault)
	}
	switch {
	case f.DiskTotal <= 0:
	case f.DiskFree < f.DiskTotal/fullShare:
		add("disk", diskFull, "its disk is full")
	case f.DiskFree < f.DiskTotal/shortShare:
		add("disk", diskShort, "its disk is nearly full")
	}
	critical := f.Heat.Critical
	if critical == 0 {
		critical = unnamedHeat
	}
	switch {
	case f.Heat.Milli == 0:
	case f.Heat.Milli > critical-hotBelow:
		add("heat", tooHot, "%s is at %d degrees and will switch itself off", f.Heat.Zone, f.Heat.Milli/1000)
	case f.Heat.Milli > critical-warmBelow:
		add("heat", hot, "%s is hot: %d degrees", f.Heat.Zone, f.Heat.Milli/1000)
	}
	return all
}

// Damping: how long a flaw must last to count, and to be over. Starts is how long a box
// that starts may take to find its internet lines.
const (
	Worse  = 3 * time.Second
	Better = 30 * time.Second
	Starts = 2 * time.Minute
)

// A Judge damps the flaws. The zero value has seen none.
type Judge struct {
	counts map[string]Flaw      // what counts
	since  map[string]time.Time // since when the present state differs from what counts
	lines  bool                 // all internet lines have worked together since the start
	start  time.Time
}

// Judge takes the facts in and returns the flaws that count, in the order Flaws has,
// and when to ask again at the latest; the zero time: when the facts change.
func (j *Judge) Judge(now time.Time, f Facts) (counting []Flaw, again time.Time) {
	if j.counts == nil {
		j.counts, j.since, j.start = map[string]Flaw{}, map[string]time.Time{}, now
	}
	seen := map[string]Flaw{}
	for _, flaw := range Flaws(f) {
		seen[flaw.Name] = flaw
	}
	j.lines = j.lines || f.Net == Runs && f.Uplinks > 0 && f.Usable == f.Uplinks && j.counts["uplinks"].Handicap == 0
	for _, name := range [...]string{"net", "uplinks", "sync", "disk", "heat"} {
		old, new := j.counts[name], seen[name]
		switch {
		case old.Handicap == new.Handicap:
			delete(j.since, name)
			if new.Handicap > 0 {
				j.counts[name] = new // its words may have changed
			}
		default:
			again = earlier(again, j.move(now, name, old, new))
		}
		if flaw, counts := j.counts[name]; counts {
			counting = append(counting, flaw)
		}
	}
	return counting, again
}

// move lets a change count when it has lasted; else it returns when it will have. Lines
// that come up for the first time do not flap: a box that has just started would be
// held back for nothing, and the address go to and fro.
func (j *Judge) move(now time.Time, name string, old, new Flaw) time.Time {
	since, moving := j.since[name]
	if !moving {
		since = now
		j.since[name] = now
	}
	due := since.Add(Worse)
	if new.Handicap < old.Handicap && (name != "uplinks" || j.lines || now.Sub(j.start) > Starts) {
		due = since.Add(Better)
	}
	if now.Before(due) {
		return due
	}
	delete(j.since, name)
	delete(j.counts, name)
	if new.Handicap > 0 {
		j.counts[name] = new
	}
	return time.Time{}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Priority is the configured one less the handicaps, and at least 1: a box alone
// serves however it is.
func Priority(configured uint8, flaws []Flaw) uint8 {
	p := int(configured)
	for _, f := range flaws {
		p -= f.Handicap
	}
	return uint8(max(p, 1))
}

// Words puts the flaws in one clause; empty: none.
func Words(flaws []Flaw) string {
	var all []string
	for _, f := range flaws {
		all = append(all, f.Why)
	}
	return strings.Join(all, ", ")
}
