// Package rate says how often each of many strangers is served: so many a second,
// with a burst before. It remembers a bounded number of them; when they are more,
// those that it has no room for share one allowance.
package rate

import "time"

// Limit is what one key may have.
type Limit struct {
	PerSecond float64
	Burst     float64
	Keys      int // remembered at the same time
}

// A bucket holds what is left of a key's allowance at a time.
type bucket struct {
	left float64
	at   time.Time
}

// Table holds the allowances. It is not safe for concurrent use.
type Table[K comparable] struct {
	limit  Limit
	keys   map[K]bucket
	others bucket    // of all for which there is no room
	swept  time.Time // when the full allowances were last forgotten
}

// New returns a table in which everybody's allowance is full.
func New[K comparable](limit Limit, now time.Time) *Table[K] {
	return &Table[K]{limit: limit, keys: map[K]bucket{}, others: bucket{limit.Burst, now}}
}

// Allow takes one from a key's allowance and reports whether there was one.
func (t *Table[K]) Allow(key K, now time.Time) bool {
	b, known := t.keys[key]
	switch {
	case known:
	case len(t.keys) < t.limit.Keys || t.sweep(now):
		b = bucket{t.limit.Burst, now}
	default:
		return t.take(&t.others, now)
	}
	ok := t.take(&b, now)
	t.keys[key] = b
	return ok
}

func (t *Table[K]) take(b *bucket, now time.Time) bool {
	if passed := now.Sub(b.at); passed > 0 { // a clock that went back gives nothing
		b.left = min(b.left+passed.Seconds()*t.limit.PerSecond, t.limit.Burst)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// sweep forgets those whose allowance is full again, once a second at most, and
// reports whether there is room now.
func (t *Table[K]) sweep(now time.Time) bool {
	if d := now.Sub(t.swept); d < time.Second && d >= 0 {
		return false
	}
	t.swept = now
	for key, b := range t.keys {
		if b.left+now.Sub(b.at).Seconds()*t.limit.PerSecond >= t.limit.Burst {
			delete(t.keys, key)
		}
	}
	return len(t.keys) < t.limit.Keys
}
