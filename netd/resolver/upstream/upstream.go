// Package upstream decides which name servers are asked, by which uplink and in
// which order: never by one that is not usable, first what works, and second by
// another way than first.
package upstream

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Routed is the way of a server that is reached as the routing table says: behind
// a tunnel or in the clinic.
const Routed = -1

// Way is one uplink.
type Way struct {
	Name    string
	Port    string
	Usable  bool
	Servers []netip.Addr // that its provider names
}

// Server is one that can be asked, by one way.
type Server struct {
	Addr netip.Addr
	Way  int // index of the uplink, or Routed
}

// record is how a server did lately.
type record struct {
	rtt      time.Duration // smoothed; 0: never answered
	answers  uint64
	failures uint64
	inRow    int       // failures since the last answer
	until    time.Time // not asked first before
}

// Times of a server that fails.
const (
	firstRest = 2 * time.Second // doubled with each failure in a row
	longRest  = time.Minute
)

// Records are the servers' histories. Not safe for concurrent use.
type Records struct{ all map[Server]*record }

// New returns empty histories.
func New() *Records { return &Records{all: map[Server]*record{}} }

// Keep forgets all servers but these.
func (r *Records) Keep(list []Server) {
	for s := range r.all {
		if !slices.Contains(list, s) {
			delete(r.all, s)
		}
	}
}

func (r *Records) of(s Server) *record {
	x := r.all[s]
	if x == nil {
		x = &record{}
		r.all[s] = x
	}
	return x
}

// Answered notes an answer.
func (r *Records) Answered(s Server, took time.Duration) {
	x := r.of(s)
	x.answers++
	x.inRow, x.until = 0, time.Time{}
	if x.rtt == 0 {
		x.rtt = took
	}
	x.rtt += (took - x.rtt) / 4
}

// Failed notes that a server did not answer, or not usefully.
func (r *Records) Failed(s Server, now time.Time) {
	x := r.of(s)
	x.failures++
	x.inRow = min(x.inRow+1, 10)
	x.until = now.Add(min(firstRest<<(x.inRow-1), longRest))
}

// RTT is a server's smoothed time to answer; 0 while unknown.
func (r *Records) RTT(s Server) time.Duration {
	if x := r.all[s]; x != nil {
		return x.rtt
	}
	return 0
}

// Counts returns a server's answers, failures, and failures since its last answer.
func (r *Records) Counts(s Server) (answers, failures uint64, inRow int) {
	if x := r.all[s]; x != nil {
		return x.answers, x.failures, x.inRow
	}
	return 0, 0, 0
}

// List returns the servers that can be asked now: the site's by each usable uplink
// or where they are, then those that the usable uplinks' providers name. active is
// the uplink that new flows take, or -1.
func List(site []netip.Addr, near func(netip.Addr) bool, ways []Way, active int) []Server {
	var list []Server
	add := func(s Server) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	order := byActive(ways, active)
	for _, a := range site {
		if near(a) {
			add(Server{a, Routed})
			continue
		}
		for _, i := range order {
			add(Server{a, i})
		}
	}
	for _, i := range order {
		for _, a := range ways[i].Servers {
			if !near(a) { // a provider does not send us into the clinic
				add(Server{a, i})
			}
		}
	}
	return list
}

// byActive returns the usable ways, the active one first.
func byActive(ways []Way, active int) []int {
	var order []int
	for i, w := range ways {
		if w.Usable {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(boolean(a != active), boolean(b != active)) })
	return order
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Order returns the servers in the order in which to ask: those that rest go last,
// and the second is by another way than the first where there is one.
func (r *Records) Order(list []Server, now time.Time) []Server {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Server) int { return cmp.Compare(r.resting(a, now), r.resting(b, now)) })
	if len(out) < 3 {
		return out
	}
	for i := 1; i < len(out) && r.resting(out[i], now) == 0; i++ {
		if out[i].Way != out[0].Way {
			other := out[i]
			out = slices.Insert(slices.Delete(out, i, i+1), 1, other)
			break
		}
	}
	return out
}

// resting is 0 for a server that may be asked first, and grows with its failures.
func (r *Records) resting(s Server, now time.Time) int {
	if x := r.all[s]; x != nil && now.Before(x.until) {
		return x.inRow
	}
	return 0
}
