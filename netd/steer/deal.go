package steer

import "time"

// A Share is what one uplink takes of datagrams that are dealt out.
type Share struct {
	Uplink int
	Rate   float64       // bytes per second
	Delay  time.Duration // to the hub
}

// Hand is how many datagrams are dealt together: enough to be worth a train, few
// enough that those of another uplink don't overtake many: what the slowest takes
// half a millisecond for. WireGuard's window takes 8000 out of order; TCP takes what
// a round trip holds, and asks again for the rest.
func Hand(shares []Share) int {
	slowest := float64(maxRate)
	for _, s := range shares {
		slowest = min(slowest, s.Rate)
	}
	return int(min(max(slowest*handTime.Seconds()/fullSize, 1), mostInHand))
}

const (
	handTime   = 500 * time.Microsecond
	fullSize   = 1450 // bytes of a datagram, nearly
	mostInHand = 16
)

// backlog is how far ahead of the present an uplink may be filled in the books.
// The uplinks may be faster than is known: only their proportion is certain.
const backlog = 50 * time.Millisecond

// A Dealer deals datagrams out to uplinks so that each arrives as early as it can:
// by the quickest while it is idle, in proportion to the rates when all are busy.
// The zero value is ready. It is not safe for concurrent use.
type Dealer struct {
	free map[int]time.Time // when an uplink has sent all that it was dealt
}

// Deal returns the uplink that so many bytes leave by. There is at least one share.
func (d *Dealer) Deal(size int, shares []Share, now time.Time) int {
	if d.free == nil {
		d.free = map[int]time.Time{}
	}
	best, earliest, least := Share{}, time.Time{}, time.Duration(0)
	for i, s := range shares {
		start := later(now, d.free[s.Uplink])
		if wait := start.Sub(now); i == 0 || wait < least {
			least = wait
		}
		if at := start.Add(s.takes(size) + s.Delay); i == 0 || at.Before(earliest) {
			best, earliest = s, at
		}
	}
	d.free[best.Uplink] = later(now, d.free[best.Uplink]).Add(best.takes(size))
	if least > backlog {
		for u, at := range d.free {
			d.free[u] = at.Add(backlog - least)
		}
	}
	return best.Uplink
}

// Ahead is how long the uplink is busy with what it was dealt, by the books.
func (d *Dealer) Ahead(uplink int, now time.Time) time.Duration {
	return max(0, d.free[uplink].Sub(now))
}

// Correct sets the books right: an uplink was found to be busy for so much longer
// than they say. The rates are never quite true, and the error adds up.
func (d *Dealer) Correct(uplink int, longer time.Duration, now time.Time) {
	if d.free == nil {
		d.free = map[int]time.Time{}
	}
	d.free[uplink] = later(now, d.free[uplink]).Add(min(max(longer, -most), most))
}

// most is how much the books are corrected at once.
const most = 100 * time.Millisecond

// takes is how long the uplink is busy with so many bytes.
func (s Share) takes(size int) time.Duration {
	return time.Duration(float64(size) / max(s.Rate, minRate) * float64(time.Second))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Bounds of a rate, in bytes per second.
const (
	minRate   = 8_000
	firstRate = 1_250_000 // until more is known
	maxRate   = 1_250_000_000
)

// How rates are found.
const (
	lossAs  = 100 * time.Millisecond // a lost probe counts as so long a queue
	hold    = 300 * time.Millisecond // by so much more queue than the others': half its rate
	damping = 150 * time.Millisecond // ... by so much more growth of it
	step    = 0.1                    // at most, in one second
	spare   = 1.1                    // the sum of the rates is that of what was sent and a tenth
)

// A Second is what went by one uplink in a second.
type Second struct {
	Sent float64       // bytes
	RTT  time.Duration // of the latest probe among them; 0: unknown
	Lost bool          // a probe among them
}

// Rates is what each uplink can take, learned from what was sent and how long the
// probes among it waited: the one with the longer queue was given too much, the
// others too little. A queue that all of them share says nothing.
type Rates struct {
	rate  []float64
	idle  []time.Duration // the shortest round trip, growing slowly
	queue []time.Duration // a second ago
}

// NewRates knows nothing of so many uplinks.
func NewRates(uplinks int) *Rates {
	r := &Rates{rate: make([]float64, uplinks), idle: make([]time.Duration, uplinks), queue: make([]time.Duration, uplinks)}
	for i := range r.rate {
		r.rate[i] = firstRate
	}
	return r
}

// Bytes is the rate of an uplink in bytes per second.
func (r *Rates) Bytes(i int) float64 { return r.rate[i] }

// Learn takes in what went by each of the uplinks that are in use; the rates of the
// others stay.
func (r *Rates) Learn(seconds map[int]Second) {
	var sent, sum float64
	var mean, meanGrowth time.Duration
	growth := map[int]time.Duration{}
	n := time.Duration(len(seconds))
	for i, s := range seconds {
		before := r.queue[i]
		r.queue[i] = r.wait(i, s)
		growth[i] = r.queue[i] - before
		sent += s.Sent
		sum += r.rate[i]
		mean += r.queue[i] / n
		meanGrowth += growth[i] / n
	}
	if sent < sum/10 {
		return // what an idle tunnel sees is not its doing
	}
	scale := min(max(sent*spare/sum, 1-step), 1+step)
	if sent < sum/2 {
		scale = 1
	}
	for i := range seconds {
		change := 0.5*float64(mean-r.queue[i])/float64(hold) + 0.5*float64(meanGrowth-growth[i])/float64(damping)
		rate := r.rate[i] * scale * (1 + min(max(change, -step), step))
		r.rate[i] = min(max(rate, minRate), maxRate)
	}
}

// wait is how long a probe waited in the uplink's queue.
func (r *Rates) wait(i int, s Second) time.Duration {
	queue := time.Duration(0)
	if s.Lost {
		queue = lossAs
	}
	if s.RTT <= 0 {
		return queue
	}
	if r.idle[i] == 0 || s.RTT < r.idle[i] {
		r.idle[i] = s.RTT
	}
	queue += s.RTT - r.idle[i]
	r.idle[i] += (s.RTT - r.idle[i]) / 256 // the way may have become longer
	return queue
}
