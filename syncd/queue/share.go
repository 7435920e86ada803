package queue

import "time"

// usage is what each origin has in the queue that is not delivered. It is counted
// anew once a second at most, for items leave by many ways.
type usage struct {
	at      time.Time
	kept    map[string]int64 // of items
	growing map[string]int64 // of bodies being taken in
}

// reserve takes room of an origin's share for a piece of a body.
func (q *Queue) reserve(origin string, n int) error {
	if q.share == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recount()
	if q.usage.kept[origin]+q.usage.growing[origin]+int64(n) > q.share {
		return ErrShare
	}
	q.usage.growing[origin] += int64(n)
	return nil
}

// settle ends a reservation: the body is an item's now, or given up.
func (q *Queue) settle(origin string, n int64, kept bool) {
	if q.share == 0 || n == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.usage.growing[origin] -= n; q.usage.growing[origin] <= 0 {
		delete(q.usage.growing, origin)
	}
	if kept {
		q.usage.kept[origin] += n
	}
}

// recount counts what lies here when the last count is old. The caller holds mu.
func (q *Queue) recount() {
	if q.usage.growing == nil {
		q.usage.growing = map[string]int64{}
	}
	if q.usage.kept != nil && time.Since(q.usage.at) < time.Second {
		return
	}
	q.usage.at, q.usage.kept = time.Now(), map[string]int64{}
	for _, e := range q.entries {
		if e.State != Delivered {
			q.usage.kept[e.Origin] += e.Size
		}
	}
}

// Newest is when the last item was accepted; zero: there is none.
func (q *Queue) Newest() (at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if e.Accepted.After(at) {
			at = e.Accepted
		}
	}
	return at
}
