// Package pathmtu finds how large a packet an uplink carries to the hub when the
// routers on the way say nothing about those they drop (RFC 8899's search, with
// echoes). It is pure.
//
// A round asks for an echo of every size at once, 16 kilobytes in all: the largest
// that is answered passes. Three quick rounds make up for loss at the start and
// whenever a round looks worse than what was known.
package pathmtu

import "time"

const (
	// Largest is a full WireGuard datagram around an inner packet of 1420: IPv4,
	// UDP and WireGuard add 60 bytes.
	Largest = 1480
	// Smallest is what is asked for at least. No provider may carry less and call
	// it IPv6.
	Smallest = 1280

	overhead   = 60 // what the tunnel adds to a packet
	padding    = 16 // WireGuard makes what is shorter than the sender's MTU a multiple
	stride     = 20
	quickEvery = 300 * time.Millisecond
	quickCount = 3
)

// Sizes lists the sizes of a round, in bytes of IPv4 packets.
func Sizes() []int {
	var all []int
	for size := Smallest; size <= Largest; size += stride {
		all = append(all, size)
	}
	return all
}

// Inner is the largest packet inside the tunnel that makes datagrams of size at most
// in both directions: the hub, which doesn't know, pads what it sends.
func Inner(size int) int {
	if size >= Largest {
		return Largest - overhead
	}
	return (size - overhead) / padding * padding
}

// Search follows one uplink.
type Search struct {
	every time.Duration // between rounds when all is well
	size  int
	next  time.Time
	quick int // rounds left of the quick ones, the one under way included
	best  int // in the round under way
	seen  int // in the quick rounds so far
}

// New returns a search that asks again so often once it has found.
func New(every time.Duration) *Search { return &Search{every: every, quick: quickCount} }

// Size is the largest packet that is known to pass; 0: nothing is known.
func (s *Search) Size() int { return s.size }

// Restart begins anew: the uplink may lead another way. What was known stays true
// until then.
func (s *Search) Restart() { s.quick, s.best, s.seen, s.next = quickCount, 0, 0, time.Time{} }

// Answered takes in an echo of a size.
func (s *Search) Answered(size int) {
	s.best = max(s.best, size)
	if s.best > s.size {
		s.size = s.best
	}
}

// Due reports whether a round is to be sent now, and closes the one before.
func (s *Search) Due(now time.Time) bool {
	if now.Before(s.next) {
		return false
	}
	if !s.next.IsZero() {
		s.close()
	}
	s.best, s.next = 0, now.Add(s.every)
	if s.quick > 0 {
		s.next = now.Add(quickEvery)
	}
	return true
}

// close judges a round. One that nothing was heard of says nothing about sizes.
func (s *Search) close() {
	switch {
	case s.quick > 1:
		s.quick--
		s.seen = max(s.seen, s.best)
	case s.quick == 1:
		s.quick = 0
		if seen := max(s.seen, s.best); seen > 0 {
			s.size = seen
		}
		s.seen = 0
	case s.best > 0 && s.best < s.size:
		s.quick, s.seen = quickCount, 0
	}
}
