package main

import (
	"context"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/netd/tunnel"
	"clinicgate/netd/turn"
)

// pairing is what the box knows of its turn.
type pairing struct {
	failover *wire.Failover // failoverd's last word
	turn     turn.Turn
}

// followPair takes in what failoverd says.
func (b *box) followPair(ctx context.Context) error {
	if !b.cfg.Pair {
		<-ctx.Done()
		return nil
	}
	return wirefile.Follow(ctx, b.env.Run, wire.FailoverFile, func(f *wire.Failover) {
		b.tell(ctx, func(time.Time) { b.failover = f })
	}, func(err error) { b.env.Log.Error("whose turn the tunnels are", "err", err) })
}

// lookAtTurn judges anew whose turn the tunnels are, and where the pair's addresses
// towards the providers are here. It costs one system call.
func (b *box) lookAtTurn(now time.Time) {
	k := turn.Known{Pair: b.cfg.Pair, Cable: b.cfg.HA != nil, Said: b.failover}
	if k.Said != nil {
		k.Lives = wirefile.Alive(k.Said.PID)
	}
	for _, t := range b.tunnels {
		if t.tunnel != nil && t.tunnel.Called().After(k.Own) {
			k.Own = t.tunnel.Called()
		}
	}
	b.turn = turn.Judge(k, now)
	b.wall.hold(paired(b.cfg.Uplinks, k.Said, k.Lives))
}

// rests reports whether the other box runs the tunnel, or nobody may. Then it keeps
// its device and its routes, and forgets its sessions: an old one would take the
// hub's answers from the other box's.
func (t *tunnelHands) rests(now time.Time) bool {
	if !t.b.turn.Rest {
		t.resting = false
		return false
	}
	if t.tunnel != nil && !t.resting {
		if err := t.tunnel.Rest(); err != nil {
			t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
			return true // again at the next settle
		}
		t.b.env.Log.Info("tunnel rests", "tunnel", t.cfg.Name, "why", t.b.turn.Why)
		t.resting, t.last = true, make([]tunnel.Status, len(t.cfg.Hubs))
	}
	t.judge(now)
	return true
}
