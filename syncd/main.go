// Command syncd is the clinic's record and upload service: a FHIR endpoint that
// reads through an encrypted cache, and the ways in for ECGs, images and files,
// which it queues durably and delivers.
//
//go:debug multipathtcp=0
package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/config"
)

func main() { os.Exit(daemon.Main("syncd", config.Parse, run)) }

// run opens what is stored and starts everything that lives. What can't start is
// a fault and is tried again; the rest runs.
func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	s, err := openAtLast(ctx, env, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	err = daemon.Run(ctx, append(slices.Concat(s.uploads(), s.apps(), s.lists(), s.orders(), s.consults(), s.prefetch(), s.keys.tasks(), s.audits()),
		daemon.Task{Name: "cardauth.json", Run: s.followCard},
		daemon.Task{Name: "netd.json", Run: s.followNet},
		daemon.Task{Name: "failoverd.json", Run: s.followPair},
		daemon.Task{Name: "cardauth", Run: daemon.Every(aliveEvery, s.checkCard)},
		daemon.Task{Name: "cardauth's events", Run: s.takeOver},
		s.records(),
		daemon.Task{Name: "changes to the EHR", Run: s.desk.Run},
		daemon.Task{Name: "ready", Run: s.ready},
		daemon.Task{Name: "report", Run: daemon.Every(time.Second, s.report)},
		env.Control(s.control()),
	)...)
	s.report(time.Now()) // with what was acknowledged last: init asks before a factory reset
	return err
}

// openAgain is the wait between attempts to open the stores.
const openAgain = 5 * time.Second

// openAtLast opens the stores, however long it takes: a full disk or a damaged
// key is for a person to mend, and the status must say so meanwhile.
func openAtLast(ctx context.Context, env *daemon.Env, cfg config.Config) (*state, error) {
	for {
		s, err := open(env, cfg)
		if err == nil {
			env.Faults.Clear(faultStore, env.State)
			return s, nil
		}
		env.Faults.Raise(wire.Fault{
			ID: faultStore, Severity: wire.Alarm, Where: env.State, What: err.Error(),
			Do: "mend what it says, or call support; until then no record is shown and no upload is taken",
		})
		if err := env.Publish(wire.SyncFile, &wire.Sync{}); err != nil {
			env.Log.Error("publish", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(openAgain):
		}
	}
}
