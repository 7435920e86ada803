package restart

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNext(t *testing.T) {
	p := Policy{First: time.Second, Most: 10 * time.Second, Settled: time.Minute}
	const quick, long = 10 * time.Millisecond, 2 * time.Minute
	steps := []struct {
		name string
		exit Exit
		want time.Duration
	}{
		{"first failure", Exit{Ran: quick}, time.Second},
		{"second", Exit{Ran: quick}, 2 * time.Second},
		{"third, after a while", Exit{Ran: 30 * time.Second}, 4 * time.Second},
		{"fourth", Exit{Ran: quick}, 8 * time.Second},
		{"fifth: no more than the most", Exit{Ran: quick}, 10 * time.Second},
		{"sixth", Exit{Ran: quick}, 10 * time.Second},
		{"a long run forgives", Exit{Ran: long}, time.Second},
		{"and counts itself", Exit{Ran: quick}, 2 * time.Second},
		{"clean: at once", Exit{Ran: 5 * time.Second, Clean: true}, 0},
		{"clean forgives too", Exit{Ran: quick}, time.Second},
		{"clean but too quick is a failure", Exit{Ran: quick, Clean: true}, 2 * time.Second},
	}
	var h History
	for _, s := range steps {
		var got time.Duration
		if got, h = p.Next(h, s.exit); got != s.want {
			t.Errorf("%s: wait %v, want %v", s.name, got, s.want)
		}
	}
}

// Whatever a service does, it is never started in a tight loop and never given up.
func TestNeverTightNeverGone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h History
		for range rapid.IntRange(1, 200).Draw(t, "runs") {
			e := Exit{Ran: time.Duration(rapid.Int64Range(0, int64(3*time.Minute)).Draw(t, "ran")), Clean: rapid.Bool().Draw(t, "clean")}
			var wait time.Duration
			wait, h = Default.Next(h, e)
			if wait > Default.Most {
				t.Fatalf("wait %v is more than %v", wait, Default.Most)
			}
			if e.Ran+wait < Default.First {
				t.Fatalf("ran %v, waits %v: a tight loop", e.Ran, wait)
			}
		}
	})
}
