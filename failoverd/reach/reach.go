// Package reach remembers which of the clinic's machines were heard on a port, so
// that a box knows whether it reaches the clinic's network: a port may have a link to
// a switch that is cut off from everything. It guarantees a bounded memory, whoever
// fills it.
package reach

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Bounds of the memory.
const (
	most   = 16
	askFor = 4                // the ones heard last
	forget = 10 * time.Minute // after the newest was heard: a cut-off box forgets nobody
)

// Reach is one port's memory. The zero value has heard nobody.
type Reach struct {
	last   time.Time
	known  map[netip.Addr]time.Time
	others []netip.Addr // routers, by their advertisements
}

// Router notes an advertisement of another router of the pair, whose address is no
// machine of the clinic's from then on: it proves that the port works, and is not
// missed when it goes.
func (r *Reach) Router(now time.Time, addr netip.Addr) {
	r.last = now
	delete(r.known, addr)
	if !slices.Contains(r.others, addr) && len(r.others) < askFor {
		r.others = append(r.others, addr)
	}
}

// Alone reports that no other router was ever heard.
func (r *Reach) Alone() bool { return len(r.others) == 0 }

// Heard notes a sign of life of addr on the network.
func (r *Reach) Heard(now time.Time, addr netip.Addr) {
	r.last = now
	if slices.Contains(r.others, addr) {
		return
	}
	if r.known == nil {
		r.known = map[netip.Addr]time.Time{}
	}
	for a, at := range r.known {
		if now.Sub(at) > forget {
			delete(r.known, a)
		}
	}
	if _, old := r.known[addr]; !old && len(r.known) >= most {
		delete(r.known, r.order()[len(r.known)-1])
	}
	r.known[addr] = now
}

// Last returns when anybody was heard; the zero time: nobody yet.
func (r *Reach) Last() time.Time { return r.last }

// Known is how many of the clinic's machines were heard lately.
func (r *Reach) Known() int { return len(r.known) }

// Ask returns whom to ask for a sign of life: machines, and the other routers.
func (r *Reach) Ask() []netip.Addr {
	all := r.order()
	return append(all[:min(len(all), askFor)], r.others...)
}

// order is the known machines, the one heard last first.
func (r *Reach) order() (all []netip.Addr) {
	for a := range r.known {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b netip.Addr) int {
		return cmp.Or(r.known[b].Compare(r.known[a]), a.Compare(b))
	})
	return all
}
