package main

import (
	"context"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// faultStandby is a box with readers of its own that nobody logs in at.
const faultStandby = "card.standby"

// followPair says that readers plugged into a box that stands by open nothing:
// workstations log in at the clinic's address, which is the other box's then. Rooms
// whose reader hangs at the workstation are connected to that address too and follow
// it by themselves. A session lives as long as its card proves itself to the box that
// began it, so none moves with the address: people log in again.
func followPair(env *daemon.Env, readers int, republish func()) daemon.Task {
	return daemon.Task{Name: "failoverd.json", Run: func(ctx context.Context) error {
		return wirefile.Follow(ctx, env.Run, wire.FailoverFile, func(f *wire.Failover) {
			if readers > 0 && f.Standby() && wirefile.Alive(f.PID) {
				env.Faults.Raise(wire.Fault{
					ID: faultStandby, Severity: wire.Note, Where: "readers",
					What: "this box stands by for the other one: cards in readers plugged into this box open nothing",
					Do:   "none needed; for work at these readers plug them into the other box, or hang them at the workstations",
				})
			} else {
				env.Faults.Clear(faultStandby, "readers")
			}
			republish()
		}, func(err error) { env.Log.Error("failoverd's word can't be read", "err", err) })
	}}
}
