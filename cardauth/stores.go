package main

import (
	"context"
	"time"

	"clinicgate/cardauth/consent"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// Faults of what is kept.
const (
	faultStore    = "card.store"
	faultConsents = "card.consents"
)

// await opens one of the stores without which nobody may log in, trying until it
// can: a disk that was mended, or a file that was brought back, needs no restart.
// Meanwhile it is known what is wrong and no session is.
func await[T any](ctx context.Context, env *daemon.Env, what string, open func() (T, error)) (T, error) {
	for {
		got, err := open()
		if err == nil {
			env.Faults.Clear(faultStore, what)
			return got, nil
		}
		env.Faults.Raise(wire.Fault{ID: faultStore, Severity: wire.Alarm, Where: what, What: err.Error(),
			Do: "nobody can log in; mend the disk or bring the file back from a backup, it is read again by itself"})
		if err := env.Publish(wire.CardFile, &wire.Card{}); err != nil {
			return got, err
		}
		env.Ready() // with a fault: a supervisor can't help it
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// readConsents reads the book of consents once more while it can't be believed.
// It reports whether it has come back.
func readConsents(env *daemon.Env, book *consent.Book) bool {
	was := book.Lost()
	err := book.Read()
	if err == nil {
		env.Faults.Clear(faultConsents, "consents.json")
		return was
	}
	env.Faults.Raise(wire.Fault{ID: faultConsents, Severity: wire.Alarm, Where: "consents.json", What: err.Error(),
		Do: "bring it back from a backup, it is read again by itself; until then professionals read with the patient's card or in an emergency only and write in emergencies only. Removing it forgets what patients said: then tell them"})
	return false
}
