package main

import (
	"context"
	"fmt"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// faultHolds is a box that stands by with uploads that only it has.
const faultHolds = "sync.standby-holds"

// followPair keeps whether this box stands by for the other one. Where uploads are
// mirrored the master alone delivers then (see pair); without, it goes on to deliver
// as far as it has a way out: what it accepted is nowhere else, and an item delivered
// by either box has one identity. When it becomes master the line is its own, and
// what waits does not wait for its next attempt.
func (s *state) followPair(ctx context.Context) error {
	return wirefile.Follow(ctx, s.env.Run, wire.FailoverFile, func(f *wire.Failover) {
		standby := f.Standby() && wirefile.Alive(f.PID)
		was := s.standby.Swap(standby)
		s.pair.hear(f)
		if was != standby {
			s.env.Log.Info("the pair", "standby", standby)
			if was {
				s.deliver.Nudge()
			}
		}
	}, func(err error) { s.env.Log.Error("failoverd's word can't be read", "err", err) })
}

// holds says that uploads wait in a box that stands by; nil: none do, or it serves.
func holds(standby bool, lanes []wire.Lane) *wire.Fault {
	n := 0
	for _, l := range lanes {
		n += l.Waiting
	}
	if !standby || n == 0 {
		return nil
	}
	verb, them := "upload waits", "it"
	if n > 1 {
		verb, them = "uploads wait", "them"
	}
	return &wire.Fault{
		ID: faultHolds, Severity: wire.Warning, Where: "queue",
		What: fmt.Sprintf("%d %s in this box, which stands by: the line to the hospital is the other one's", n, verb),
		Do:   fmt.Sprintf("nothing is lost; to have %s delivered now, make this box master: gatectl pair handover on the other one", them),
	}
}
