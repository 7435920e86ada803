package vrrp

import "time"

// Join is the word that a router which moves together with this one has become
// Active because nothing was heard on its side. A Backup router that has not heard
// anything for two intervals either does not wait for the third.
type Join struct{ Reason string }

func (Join) event() {}

func (r *Router) join(now time.Time, reason string) []Action {
	if r.status.State != Backup || r.deadline.Sub(now) > r.heard+r.skew() {
		return nil
	}
	return r.activate(now, reason)
}
