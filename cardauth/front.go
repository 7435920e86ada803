package main

import (
	"context"
	"errors"
	"time"

	"clinicgate/cardauth/audit"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/session"
)

// A front is the clinic's readers with a trace: nobody is told of a login, or of
// one that was not, before that is on disk.
type front struct {
	*presence.Clinic
	trace *recorder
}

// Login opens a session that is on record.
func (d front) Login(ctx context.Context, in session.Login) (session.Session, error) {
	s, err := d.Clinic.Login(ctx, in)
	var no *session.Refusal
	switch {
	case errors.As(err, &no):
		d.Refused(in, no)
		return s, err
	case err != nil:
		return s, err
	}
	if err := d.trace.kept(s.ID); err != nil {
		d.Logout(s.ID)
		return session.Session{}, &session.Refusal{Kind: session.NotKept, Detail: "the login could not be recorded, so it was not done: the gateway's storage needs attention, call support"}
	}
	return s, nil
}

// Refused puts a login that was not on record. That it can't be is a fault, and
// changes no refusal.
func (d front) Refused(in session.Login, no *session.Refusal) {
	e := audit.Event{
		Kind: audit.Refused, At: time.Now(), Room: in.Room, Device: in.Device, Who: no.Who, Why: string(no.Kind), Failed: true,
	}
	if in.Patient {
		e.Who, e.Patient = "", no.Who
	}
	if err := d.trace.record(e); err != nil {
		d.Log.Error("record a refusal", "err", err)
	}
}
