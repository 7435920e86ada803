package vrrp

import (
	"fmt"
	"time"
)

// Priorities with a meaning of their own (§5.2.4).
const (
	resign = 0
	owner  = 255
)

// Gratuitous ARP is repeated, for a switch or a host that missed the first. The
// first repeat comes after the second in which Linux ignores another one.
var repeats = [...]time.Duration{1100 * time.Millisecond, 5 * time.Second}

// The least time between advertisements, and between announcements, that another
// box provokes: whoever floods us must not make us flood.
const (
	answerGap   = 10 * time.Millisecond
	announceGap = time.Second
)

// maxExcused bounds how often in a row a late tick is forgiven.
const maxExcused = 3

// skew is Skew_Time of §6.1, in full precision: at 10 ms a rounded one is none. It
// lets the best of several Backup routers be first; where there is only one it is that
// of the highest priority. Routers that start together are several in any case.
func (r *Router) skew() time.Duration {
	behind := 256 - int(r.Priority())
	if r.cfg.Sole && r.follows {
		behind = 1
	}
	return time.Duration(behind) * r.heard / 256
}

// down is Active_Down_Interval of §6.1.
func (r *Router) down() time.Duration { return 3*r.heard + r.skew() }

// heardInBackup is §6.4.2.
func (r *Router) heardInBackup(now time.Time, a Heard) []Action {
	switch {
	case a.Priority == resign:
		r.wait(now, r.skew())
		r.because = fmt.Sprintf("%v stepped down", a.From)
		r.become(now, Backup, fmt.Sprintf("%v steps down, this box takes over in %s", a.From, seconds(r.skew())))
	case a.Priority >= r.Priority() || !r.cfg.Preempt || now.Sub(r.started) < r.cfg.Delay:
		r.follow(now, a)
	default: // we are the better one: let the timer run out
		r.because = fmt.Sprintf("priority %d beats %d of %v", r.Priority(), a.Priority, a.From)
	}
	return nil
}

// follow accepts the sender as Active and takes over its interval.
func (r *Router) follow(now time.Time, a Heard) {
	r.heard, r.excused, r.follows = a.Interval, 0, true
	r.wait(now, r.down())
	r.because = fmt.Sprintf("%v fell silent for %s", a.From, seconds(r.down()))
	reason := fmt.Sprintf("%v is master with priority %d, this box has %d", a.From, a.Priority, r.Priority())
	switch {
	case a.Priority >= r.Priority():
	case r.cfg.Preempt:
		reason += fmt.Sprintf(" and waits until %s after its start", seconds(r.cfg.Delay))
	default:
		reason += " and does not preempt"
	}
	r.become(now, Backup, reason)
}

// heardInActive is §6.4.3.
func (r *Router) heardInActive(now time.Time, a Heard) []Action {
	switch {
	case a.Priority == resign:
		r.wait(now, r.cfg.Interval)
		return []Action{Send}
	case a.Priority > r.Priority() || a.Priority == r.Priority() && r.self.Less(a.From):
		r.again = nil
		r.follow(now, a)
		return []Action{Release}
	}
	// The sender has not heard us, or came back after a split: assert ourselves at
	// once, towards the other box and towards switches and hosts that learned its
	// address.
	var do []Action
	if now.Sub(r.sent) >= answerGap {
		r.sent = now
		do = append(do, Send)
	}
	if now.Sub(r.announced) >= announceGap {
		r.announced = now
		do = append(do, Announce)
	}
	return do
}

// downTimer is the Active_Down_Timer of §6.4.2. When the tick comes more than an
// interval late it was this box that slept, not the other that fell silent: its
// advertisements may be on their way to us, so we wait for one more of them.
func (r *Router) downTimer(now time.Time, bar string) []Action {
	if late := now.Sub(r.deadline); late > r.heard && r.excused < maxExcused {
		r.excused++
		r.wait(now, r.heard+r.skew())
		r.become(now, Backup, fmt.Sprintf("this box was not running for %s, listens again", seconds(late)))
		return nil
	}
	if bar != "" {
		r.wait(now, min(max(r.heard, answerGap), barred))
		r.become(now, Backup, bar)
		return nil
	}
	return r.activate(now, r.because)
}

// barred is the longest until a router that must not become Active asks again.
const barred = 100 * time.Millisecond

func (r *Router) activate(now time.Time, reason string) []Action {
	r.excused, r.taking = 0, time.Time{}
	r.wait(now, r.cfg.Interval)
	r.sent, r.announced, r.again = now, now, nil
	for _, d := range repeats {
		r.again = append(r.again, now.Add(d))
	}
	r.become(now, Active, reason)
	return []Action{Send, Claim, Announce}
}

// seconds writes a duration for people.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
