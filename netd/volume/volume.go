// Package volume counts what goes through an uplink in its month, from the counters
// of a port that starts at zero whenever it or the box does. It is pure; the record
// is kept by its caller, who may lose the last of it.
package volume

import "time"

// Record is what outlives a restart.
type Record struct {
	Since time.Time `json:"since"` // the month began
	Bytes uint64    `json:"bytes"`
	// Where the port's counter stood, and which port of which boot that was.
	Boot    string `json:"boot"`
	Index   int    `json:"index"`
	Counter uint64 `json:"counter"`
}

// Count takes in where the counter of a port stands: the bytes both ways since the
// device was made. Another boot, another device or a counter that went back means
// that it began at zero since; so nothing is missed that passed while nobody looked.
// day is the day of the month, 1 to 28, when counting begins anew, in UTC.
func (r Record) Count(counter uint64, index int, boot string, day int, now time.Time) Record {
	r = r.roll(day, now)
	if boot != r.Boot || index != r.Index || counter < r.Counter {
		r.Boot, r.Index, r.Counter = boot, index, 0
	}
	r.Bytes += counter - r.Counter
	r.Counter = counter
	return r
}

// sane is before any box was made: a clock that says less was never set.
func sane() time.Time { return time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC) }

// roll begins a new month when it is time. A clock that goes back, or was never set,
// ends no month; what was counted before it was set belongs to the month that it is.
func (r Record) roll(day int, now time.Time) Record {
	begin := Begin(day, now)
	switch {
	case r.Since.IsZero() || r.Since.Before(sane()):
		r.Since = begin
	case begin.After(r.Since):
		r.Since, r.Bytes = begin, 0
	}
	return r
}

// Begin is when the month that now is in began.
func Begin(day int, now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	if d < day {
		m--
	}
	return time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
}

// End is when the month that began at since ends.
func End(since time.Time) time.Time { return since.AddDate(0, 1, 0) }

// Parts of a cap, in percent.
const (
	warnFrom  = 80
	spentFrom = 95 // what is left is for when nothing else works
)

// Near reports whether a cap is nearly used up: people should know.
func Near(bytes uint64, cap int64) bool { return percent(bytes, cap) >= warnFrom }

// Spent reports whether a cap is so far used up that the uplink is a last resort.
func Spent(bytes uint64, cap int64) bool { return percent(bytes, cap) >= spentFrom }

func percent(bytes uint64, cap int64) float64 {
	if cap <= 0 {
		return 0
	}
	return float64(bytes) * 100 / float64(cap)
}

// Cost is what the bytes cost at a price for 10^9 of them.
func Cost(bytes uint64, price float64) float64 { return float64(bytes) / 1e9 * price }
