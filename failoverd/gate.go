package main

import (
	"context"
	"time"

	"clinicgate/failoverd/vrrp"
)

// A gate is what must be in place before this box claims a group's addresses: a
// packet that comes to a claimed address before its connection is known here is
// answered with a reset. Prepare returns when all is in place, or with the reason
// why it isn't when ctx ends; the addresses are claimed in both cases.
type gate interface {
	Prepare(ctx context.Context, group string) error
}

// gateLimit is the longest a claim waits: care goes on without connections rather
// than without a gateway.
const gateLimit = 500 * time.Millisecond

// A passage is one claim on its way through the gate. The router is master
// meanwhile, and advertises: the other box stays quiet.
type passage struct {
	cancel context.CancelFunc
	err    error // valid once it was handed to opened
}

// enter starts the way through the gate; opened gets the passage when it is over.
func enter(gate gate, group string, limit time.Duration, opened chan<- *passage) *passage {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p := &passage{cancel: cancel}
	go func() {
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- gate.Prepare(ctx, group) }()
		select {
		case p.err = <-done:
		case <-ctx.Done(): // whatever the gate is still at, the limit holds
			p.err = ctx.Err()
		}
		opened <- p
	}()
	return p
}

// enter sends the claim through the gate, if there is one. A claim that was on its
// way is called back: only the last one counts.
func (g *group) enter() bool {
	g.callBack()
	if g.gate == nil {
		return false
	}
	g.passage = enter(g.gate, g.cfg.Name, gateLimit, g.opened)
	return true
}

func (g *group) callBack() {
	if g.passage != nil {
		g.passage.cancel()
		g.passage = nil
	}
}

// through is the end of a passage: now the addresses are claimed and announced.
func (g *group) through(p *passage) {
	if p != g.passage {
		return // called back meanwhile
	}
	g.passage = nil
	if p.err != nil {
		g.log.Warn("claiming before all is in place", "err", p.err)
	}
	if g.own() {
		g.attempt(vrrp.Announce)
	}
}
