// Package ledger remembers flows, up to a limit: what the other box was told, or
// what it told us. It guarantees that what is remembered never outgrows the limit
// and that the oldest short-lived flow goes first, an open connection last.
package ledger

import "clinicgate/failoverd/flowsync/flow"

// A Ledger holds flows by key.
type Ledger struct {
	max     int
	entries map[flow.Key]*entry
	short   queue // name lookups and their like
	lasting queue // what people hold on to
}

// An entry stands in one of the two queues.
type entry struct {
	flow       flow.Flow
	until      int64  // Unix seconds when the other box's copy ends
	round      uint32 // in which it was last seen
	prev, next *entry
	in         *queue
}

// New returns an empty ledger for at most max flows.
func New(max int) *Ledger {
	return &Ledger{max: max, entries: map[flow.Key]*entry{}}
}

// Len is how many flows are remembered.
func (l *Ledger) Len() int { return len(l.entries) }

// Get returns what is remembered of a flow.
func (l *Ledger) Get(k flow.Key) (flow.Flow, bool) {
	e, ok := l.entries[k]
	if !ok {
		return flow.Flow{}, false
	}
	return e.flow, true
}

// Put remembers a flow, as the youngest. When there is no room, what it returns
// as out was forgotten for it: the caller ends it wherever else it is known. A
// short-lived flow never pushes out a lasting one: then ok is false.
func (l *Ledger) Put(f flow.Flow) (out flow.Key, full, ok bool) {
	e, known := l.entries[f.Key]
	if !known {
		if len(l.entries) >= l.max {
			old := l.oldest(f.Lasting())
			if old == nil {
				return out, false, false
			}
			out, full = old.flow.Key, true
			l.Del(out)
		}
		e = &entry{}
		l.entries[f.Key] = e
	} else {
		e.in.remove(e)
	}
	e.flow = f
	l.queue(f).add(e)
	return out, full, true
}

func (l *Ledger) queue(f flow.Flow) *queue {
	if f.Lasting() {
		return &l.lasting
	}
	return &l.short
}

func (l *Ledger) oldest(orLasting bool) *entry {
	if l.short.first == nil && orLasting {
		return l.lasting.first
	}
	return l.short.first
}

// Del forgets a flow and reports whether it was known.
func (l *Ledger) Del(k flow.Key) bool {
	e, ok := l.entries[k]
	if ok {
		e.in.remove(e)
		delete(l.entries, k)
	}
	return ok
}

// A queue is a list from oldest to youngest.
type queue struct{ first, last *entry }

func (q *queue) add(e *entry) {
	e.in, e.prev, e.next = q, q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
}

func (q *queue) remove(e *entry) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
}
