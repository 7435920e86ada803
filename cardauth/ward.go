package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"clinicgate/cardauth/audit"
	"clinicgate/cardauth/consent"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/serve"
	"clinicgate/cardauth/session"
	"clinicgate/firmware/wire"
)

// A ward is what doctors and patients do with a live session, each on record
// before it takes effect.
type ward struct {
	*presence.Clinic
	trace    *recorder
	consents *consent.Book
	site     string
}

// Bounds of a doctor's reason, in characters: "x" is none.
const (
	minReason = 10
	maxReason = 500
)

// number is how patients are called on cards and in the EHR.
var number = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)

// A statement is what a doctor's card signs to break the glass. Its field names
// and order never change: signatures are checked years later.
type statement struct {
	Site    string `json:"site"`
	Doctor  string `json:"doctor"`
	Patient string `json:"patient"`
	Room    string `json:"room"`
	Reason  string `json:"reason"`
	At      string `json:"at"`
}

// BreakGlass opens a record without the patient's card: for a doctor, with a
// reason, the PIN once more and the card's signature, on record first.
func (d ward) BreakGlass(ctx context.Context, of session.Session, e serve.Emergency) (session.Care, error) {
	defer clear(e.PIN)
	event := audit.Event{
		Kind: audit.Breaks, At: time.Now(), Session: of.ID, Who: of.Subject, Role: of.Role, Room: of.Room, Reader: of.Reader,
		Device: of.Device, Why: e.Reason, Patient: e.Patient,
	}
	sig, text, err := d.declare(ctx, of, e)
	if err != nil {
		var no *session.Refusal
		if errors.As(err, &no) {
			event.Failed, event.Why = true, string(no.Kind)
			if !number.MatchString(e.Patient) {
				event.Patient = ""
			}
			if rerr := d.trace.record(event); rerr != nil {
				d.Log.Error("record a refused emergency", "err", rerr)
			}
		}
		return session.Care{}, err
	}
	event.Statement, event.Signed, event.Signature, event.Certificate = text, sig.Message, sig.Signature, sig.Certificate.Raw
	if err := d.trace.record(event); err != nil {
		return session.Care{}, notKept()
	}
	care, ok := d.Break(of.ID, e.Patient)
	if !ok {
		return session.Care{}, &session.Refusal{Kind: session.NoSession, Detail: "the session is over; log in again"}
	}
	d.Remind()
	return care, nil
}

// declare checks all that can be checked and has the card sign.
func (d ward) declare(ctx context.Context, of session.Session, e serve.Emergency) (presence.Signature, []byte, error) {
	var none presence.Signature
	if no := d.MayBreak(of.ID); no != nil {
		return none, nil, no
	}
	if n := utf8.RuneCountInString(e.Reason); n < minReason || n > maxReason || !utf8.ValidString(e.Reason) {
		return none, nil, &session.Refusal{Kind: session.NoReason, Detail: fmt.Sprintf("say why, in %d to %d characters: it will be read", minReason, maxReason)}
	}
	if !number.MatchString(e.Patient) {
		return none, nil, &session.Refusal{Kind: session.NoReason, Detail: "say for which patient: the number of the card, or the id in the record"}
	}
	text, err := json.Marshal(statement{d.site, of.Subject, e.Patient, of.Room, e.Reason, time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return none, nil, err
	}
	sig, err := d.Sign(ctx, presence.Request{
		Session: of.ID, Purpose: "break-glass", Statement: text, PIN: e.PIN, Question: "PIN to open a record without the patient's card",
	})
	return sig, text, err
}

// faultEmergency reminds of emergencies until a day after the last.
const faultEmergency = "card.break-glass"

// Remind states how many emergencies somebody should look at.
func (d ward) Remind() {
	n := d.Emergencies()
	if n == 0 {
		d.Faults.Clear(faultEmergency, "readers")
		return
	}
	d.Faults.Raise(wire.Fault{
		ID: faultEmergency, Severity: wire.Warning, Where: "readers", What: fmt.Sprintf("%d records were opened without the patient's card in the last 24 hours", n),
		Do: "the clinic's data protection officer looks at the reasons in the trail and tells the patients",
	})
	d.Republish()
}

// Consent returns what a patient said.
func (d ward) Consent(of session.Session) ([]byte, bool) { return d.consents.Get(of.Patient) }

// SetConsent takes a patient's word, on record first.
func (d ward) SetConsent(of session.Session, resource []byte) error {
	why := "taken back"
	if resource != nil {
		if _, err := consent.Parse(resource); err != nil {
			return err
		}
		why = "given"
	}
	if d.consents.Lost() {
		return notKept()
	}
	err := d.trace.record(audit.Event{
		Kind: audit.Consent, At: time.Now(), Session: of.ID, Patient: of.Number, Role: of.Role, Room: of.Room, Reader: of.Reader,
		Device: of.Device, Why: why, Statement: resource,
	})
	if err == nil {
		err = d.consents.Set(of.Patient, resource)
	}
	if err != nil {
		d.Log.Error("keep a consent", "err", err)
		return notKept()
	}
	d.Republish()
	return nil
}

func notKept() error {
	return &session.Refusal{Kind: session.NotKept, Detail: "it could not be recorded, so it was not done: the gateway's storage needs attention, call support"}
}
