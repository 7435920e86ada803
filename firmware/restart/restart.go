// Package restart decides how long a service that ended waits before it starts
// again. It is pure: the same history gives the same wait.
package restart

import "time"

// Policy is how patient a supervisor is.
type Policy struct {
	First   time.Duration // wait after the first failure
	Most    time.Duration // waits double up to this
	Settled time.Duration // a run this long forgives earlier failures
}

// Default suits a daemon: back within half a second after a slip, twice a minute
// when it can't run at all.
var Default = Policy{First: 500 * time.Millisecond, Most: 30 * time.Second, Settled: time.Minute}

// History is what the policy remembers of one service. The zero value is a
// service that never failed.
type History struct {
	Failures int // in a row
}

// Exit is the end of one run.
type Exit struct {
	Ran   time.Duration // from start to end
	Clean bool          // exit status 0: the service asks to be started afresh
}

// Next returns the wait before the next start and the history after e. A clean
// exit costs no wait, so that a new configuration is in force at once, unless the
// run was shorter than First: then it counts as a failure, or a program that does
// nothing would be started in a tight loop.
func (p Policy) Next(h History, e Exit) (time.Duration, History) {
	if e.Ran >= p.Settled {
		h.Failures = 0
	}
	if e.Clean && e.Ran >= p.First {
		return 0, History{}
	}
	wait := p.First
	for range h.Failures {
		if wait >= p.Most/2 {
			wait = p.Most
			break
		}
		wait *= 2
	}
	h.Failures++
	return min(wait, p.Most), h
}
