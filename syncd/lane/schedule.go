package lane

import (
	"container/heap"
	"time"
)

// Entry is what the schedule needs to know of an item.
type Entry struct {
	ID       [16]byte
	Lane     Lane
	Order    string // entries of one lane with the same Order leave one after the other; empty: free
	Accepted time.Time
}

// Policy has the figures. The zero value of each means its default.
type Policy struct {
	First time.Duration // pause after the first failed attempt; doubles each time (2 s)
	Most  time.Duration // longest pause (5 min)
	Aged  time.Duration // a bulk entry this old takes its share beside routine (1 h)
	Share int           // of so many picks one goes to an aged bulk entry (4)
}

// A Schedule orders the waiting entries of one destination. Stat comes before
// all. Routine comes before bulk, but bulk that has waited long gets one pick in
// Policy.Share, so that an endless routine day doesn't starve it. Within a lane
// the oldest leaves first. An entry that failed pauses, and with it the later
// ones of its lane and Order; all others pass it. Not safe for concurrent use.
type Schedule struct {
	policy  Policy
	jitter  func() float64 // in [0, 1), spreads the pauses
	lanes   [Bulk + 1]laneQueue
	streams map[streamKey]*stream
	of      map[[16]byte]*stream
	seq     uint64
	passed  int // picks for routine while aged bulk waited
}

// laneQueue has the streams of a lane whose head may leave, and those that pause.
type laneQueue struct {
	ready, paused streamHeap
}

type streamKey struct {
	lane  Lane
	order string
	alone [16]byte // the entry itself, when it has no Order
}

// A stream is a line of entries that leave one after the other. It is in its
// lane's ready heap, in its paused heap, or its head is in flight.
type stream struct {
	key   streamKey
	line  []queued
	until time.Time   // pause
	in    *streamHeap // nil: in flight
	at    int         // place in the heap
}

type queued struct {
	Entry
	seq   uint64
	tries int
}

// New returns an empty schedule.
func New(p Policy, jitter func() float64) *Schedule {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&p.First, 2*time.Second)
	set(&p.Most, 5*time.Minute)
	set(&p.Aged, time.Hour)
	if p.Share == 0 {
		p.Share = 4
	}
	s := &Schedule{policy: p, jitter: jitter, streams: map[streamKey]*stream{}, of: map[[16]byte]*stream{}}
	for i := range s.lanes {
		s.lanes[i].paused.byPause = true
	}
	return s
}

// Len is how many entries wait or are in flight.
func (s *Schedule) Len() int { return len(s.of) }

// Add puts an entry at the end of its line. One that is there already stays.
func (s *Schedule) Add(e Entry) {
	if s.of[e.ID] != nil {
		return
	}
	key := streamKey{lane: e.Lane, order: e.Order}
	if e.Order == "" {
		key.alone = e.ID
	}
	s.seq++
	st := s.streams[key]
	if st == nil {
		st = &stream{key: key}
		s.streams[key] = st
	}
	st.line = append(st.line, queued{Entry: e, seq: s.seq})
	s.of[e.ID] = st
	if len(st.line) == 1 {
		s.lanes[e.Lane].ready.push(st)
	}
}

// Next takes the entry whose turn it is, of the lanes up to least: with Stat,
// only that one. The entry is in flight until Done or Retry.
func (s *Schedule) Next(now time.Time, least Lane) (Entry, bool) {
	for i := range s.lanes {
		s.lanes[i].wake(now)
	}
	l := s.pick(now, least)
	if l == 0 {
		return Entry{}, false
	}
	st := s.lanes[l].ready.pop()
	return st.line[0].Entry, true
}

// Oldest says when the entry of a lane that would leave next was accepted.
func (s *Schedule) Oldest(l Lane, now time.Time) (accepted time.Time, ok bool) {
	s.lanes[l].wake(now)
	if ready := s.lanes[l].ready.all; len(ready) > 0 {
		return ready[0].line[0].Accepted, true
	}
	return accepted, false
}

// pick names the lane whose turn it is, or 0.
func (s *Schedule) pick(now time.Time, least Lane) Lane {
	var first Lane
	for l := Stat; l <= least && first == 0; l++ {
		if len(s.lanes[l].ready.all) > 0 {
			first = l
		}
	}
	bulk := s.lanes[Bulk].ready.all
	if first != Routine || least < Bulk || len(bulk) == 0 || now.Sub(bulk[0].line[0].Accepted) < s.policy.Aged {
		return first
	}
	if s.passed++; s.passed < s.policy.Share {
		return Routine
	}
	s.passed = 0
	return Bulk
}

// Done removes an entry: it was delivered, or is held. The next of its line may
// leave.
func (s *Schedule) Done(id [16]byte) {
	st := s.of[id]
	if st == nil {
		return
	}
	delete(s.of, id)
	if st.line[0].ID != id { // in the middle: the head's turn is not touched
		for i := range st.line {
			if st.line[i].ID == id {
				st.line = append(st.line[:i], st.line[i+1:]...)
				return
			}
		}
	}
	if st.in != nil {
		heap.Remove(st.in, st.at)
		st.in = nil
	}
	if st.line = st.line[1:]; len(st.line) == 0 {
		delete(s.streams, st.key)
		return
	}
	st.until = time.Time{}
	s.lanes[st.key.lane].ready.push(st)
}

// Retry puts an entry in flight back to the front of its line and returns when it
// may leave again. counts says whether the attempt failed on the entry's own
// account: then its pauses grow. Otherwise, as when the link is down, it may leave
// at once.
func (s *Schedule) Retry(id [16]byte, now time.Time, counts bool) time.Time {
	st := s.of[id]
	if st == nil || st.in != nil {
		return now
	}
	if !counts {
		s.lanes[st.key.lane].ready.push(st)
		return now
	}
	st.line[0].tries++
	st.until = now.Add(Pause(s.policy.First, s.policy.Most, st.line[0].tries, s.jitter()))
	s.lanes[st.key.lane].paused.push(st)
	return st.until
}

// Wake says when the next pause ends, if one is on.
func (s *Schedule) Wake() (at time.Time, ok bool) {
	for i := range s.lanes {
		if p := s.lanes[i].paused.all; len(p) > 0 && (!ok || p[0].until.Before(at)) {
			at, ok = p[0].until, true
		}
	}
	return at, ok
}

// Pause is the pause after so many failures: it doubles from first up to most,
// and jitter in [0, 1) takes up to half of it away, so that what failed together
// doesn't come back together.
func Pause(first, most time.Duration, failures int, jitter float64) time.Duration {
	d := first
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d - time.Duration(jitter*float64(d)/2)
}

// wake moves streams whose pause is over to the ready ones.
func (q *laneQueue) wake(now time.Time) {
	for len(q.paused.all) > 0 && !q.paused.all[0].until.After(now) {
		q.ready.push(q.paused.pop())
	}
}

// streamHeap is a heap of streams, by pause or by age of their heads.
type streamHeap struct {
	all     []*stream
	byPause bool
}

func (h *streamHeap) push(s *stream) {
	s.in = h
	heap.Push(h, s)
}

func (h *streamHeap) pop() *stream {
	s := heap.Pop(h).(*stream)
	s.in = nil
	return s
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (h *streamHeap) Len() int { return len(h.all) }

func (h *streamHeap) Less(i, j int) bool {
	if h.byPause {
		return h.all[i].until.Before(h.all[j].until)
	}
	return h.all[i].line[0].seq < h.all[j].line[0].seq
}

func (h *streamHeap) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].at, h.all[j].at = i, j
}

func (h *streamHeap) Push(x any) {
	s := x.(*stream)
	s.at = len(h.all)
	h.all = append(h.all, s)
}

func (h *streamHeap) Pop() any {
	s := h.all[len(h.all)-1]
	h.all = h.all[:len(h.all)-1]
	return s
}
