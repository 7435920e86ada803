package timeserver

import (
	"fmt"
	"time"

	"clinicgate/firmware/wire"
)

// IDs lists every fault this package can state.
func IDs() []string { return []string{"time.down", "time.unknown", "time.denied", "time.far"} }

// grace is how long a box may take to learn the time, and be without a server.
const grace = 5 * time.Minute

// State returns what the wire file says, and what is wrong.
func (s *Server) State() (*wire.Time, []wire.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	w := &wire.Time{Answers: s.open, Known: s.tells(now), Served: s.served, Sources: []wire.TimeSource{}}
	if w.Known {
		w.Stratum, w.ErrorMS = int(s.last.Stratum), millis(s.bound(now))
		w.Checked = s.at.UTC().Truncate(time.Second)
	}
	for i, p := range s.peers {
		t := wire.TimeSource{Name: p.name, Address: p.addr.String(), Reach: int(p.since.Reach), Why: p.since.Why}
		if x, ok := p.since.Best(now); ok {
			t.OffsetMS, t.ErrorMS, t.Stratum = millis(x.Offset), millis(x.Bound(now)), int(x.Stratum)
		}
		for _, good := range s.judged.Agree {
			t.Believed = t.Believed || good == i
		}
		w.Sources = append(w.Sources, t)
	}
	return w, s.faults(now)
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// faults says what is wrong. The lock is held.
func (s *Server) faults(now time.Time) []wire.Fault {
	var faults []wire.Fault
	add := func(id, what, do string) {
		faults = append(faults, wire.Fault{ID: id, Severity: wire.Warning, Where: "netd", What: what, Do: do})
	}
	late := now.Sub(s.started) >= grace && (s.at.IsZero() || now.Sub(s.at) >= grace)
	switch {
	case s.broken != "":
		add("time.down", "devices are not told the time: "+s.broken, "send this line to support")
	case s.far != 0:
		add("time.far", fmt.Sprintf("the clock is wrong by %v, too much to set it while it is in use", s.far.Round(time.Second)), "restart the box when it suits (gatectl reboot)")
	case s.denied != "":
		add("time.denied", s.denied, "send this line to support")
	}
	if len(s.servers) > 0 && s.usable && late && !s.tells(now) {
		what := "no time server answers"
		if s.judged.Heard > 1 {
			what = fmt.Sprintf("%d time servers answer, and no majority of them agrees", s.judged.Heard)
		}
		add("time.unknown", what+": nobody knows whether the clock is right", "enter other servers in the site file (net.ntp.servers)")
	}
	return faults
}
