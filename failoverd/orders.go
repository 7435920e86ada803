package main

import "context"

// order has the group's own goroutine do f, and waits for it. false: ctx ended
// first, and f is not done.
func (g *group) order(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	select {
	case g.orders <- func() { f(); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}
