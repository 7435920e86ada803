// Package morning is a doctor's morning in the clinic: a table of steps that the
// gateway passes or fails, each against programs nobody here wrote. It guarantees
// that a step says ok only when what it promises was seen from outside the box.
package morning

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/image/lab/clinic"
	"clinicgate/image/lab/station"
)

// Box is the gateway as a person in the clinic can treat it.
type Box interface {
	Boot(context.Context) error // and wait until its services answer
	CutPower() error
	Status(context.Context) (string, error) // what gatectl status shows
}

// Morning is one run. Its cards and patients are made by the first step.
type Morning struct {
	Clinic *clinic.Clinic
	Box    Box
	Slot   *pivcard.Slot // in the reader of the consulting room
	Second *Second       // nil: there is one box only
	Out    io.Writer

	ws       *station.Station
	doctor   *pivcard.Card // a card with a PIN the clinic trusts
	foreign  *pivcard.Card // as good, but of another CA
	login    *station.Login
	renewed  time.Time
	stalled  int    // how often an emulated reader ended the session
	seen     record // read before the links died
	unseen   string // path of a patient nobody read
	shipment        // the ECGs on their way
}

// record is an answer to compare later ones with.
type record struct {
	path, etag string
	body       []byte
}

// A step is one line of the morning.
type step struct {
	mark string // of the list
	name string
	run  func(*Morning, context.Context) error
}

// steps are the morning, in order. Each counts on those before it.
var steps = []step{
	{"", "the box has booted and its services answer", (*Morning).boot},
	{"", "its tunnel to the hub stands", (*Morning).tunnel},
	{"a", "card in, PIN: the doctor is signed in", (*Morning).signIn},
	{"a", "a patient's record is read from the cloud", (*Morning).readPatient},
	{"a", "and that patient's Observations", (*Morning).readObservations},
	{"b", "without a card nobody is signed in", (*Morning).refuseNoCard},
	{"b", "nor with a wrong PIN", (*Morning).refuseWrongPIN},
	{"b", "nor with a card of another CA", (*Morning).refuseForeignCard},
	{"c", "ISP A dies silently: the next read works", (*Morning).loseISPA},
	{"d", "both ISPs dead: the same record is served, marked stale", (*Morning).loseBoth},
	{"d", "a record never seen gets a clear 504", (*Morning).readUnseen},
	{"e", "the cart's 12-lead ECG is taken: C-STORE success", (*Morning).storeECG},
	{"e", "the monitor's SCP-ECG is taken: MQTT PUBACK", (*Morning).publishECG},
	{"f", "power cut right after; the box boots again", (*Morning).powerCut},
	{"g", "ISP B is back: the ECG is in the hospital once, unaltered", (*Morning).findECG},
	{"g", "and the other is in the EHR once, unaltered", (*Morning).findPublished},
	{"h", "card out: the token is dead", (*Morning).cardOut},
	{"", "gatectl status shows it", (*Morning).readStatus},
}

// stepLimit bounds a step; the image boots in less on an emulated machine.
const stepLimit = 12 * time.Minute

// Play runs the steps, writes a line for each and stops at the first that fails.
func (m *Morning) Play(ctx context.Context) error {
	began := time.Now()
	play := steps
	if m.Second != nil {
		play = pairSteps
	}
	for _, s := range play {
		start := time.Now()
		limited, cancel := context.WithTimeout(ctx, stepLimit)
		err := s.run(m, limited)
		cancel()
		verdict := "ok  "
		if err != nil {
			verdict = "FAIL"
		}
		mark := "   "
		if s.mark != "" {
			mark = "(" + s.mark + ")"
		}
		fmt.Fprintf(m.Out, "%s %7.1fs  %s %s\n", verdict, time.Since(start).Seconds(), mark, s.name)
		if err != nil {
			m.tell(ctx)
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Fprintf(m.Out, "the morning took %.0f s\n", time.Since(began).Seconds())
	return nil
}

// tell shows what both boxes of a pair say when a step failed: which of them it met is
// the first question.
func (m *Morning) tell(ctx context.Context) {
	if m.Second == nil {
		return
	}
	for _, b := range []Box{m.Box, m.Second.Box} {
		if text, err := b.Status(ctx); err == nil {
			fmt.Fprintln(m.Out, text)
		}
	}
}

func (m *Morning) boot(ctx context.Context) error { return m.Box.Boot(ctx) }

// online is how long a box that has booted may take to find a provider and the hub.
const online = 6 * time.Minute

// tunnel waits until the hub has shaken hands with the box.
func (m *Morning) tunnel(ctx context.Context) error {
	for end := time.Now().Add(online); ; time.Sleep(200 * time.Millisecond) {
		met, err := m.Clinic.Handshake(ctx)
		if err != nil || met {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no handshake with the hub within %v", online)
		}
	}
}

// abreast is how long the status may lag behind what happened.
const abreast = time.Minute

// readStatus reads the status until it says what it should, and shows it.
func (m *Morning) readStatus(ctx context.Context) error {
	for end := time.Now().Add(abreast); ; time.Sleep(500 * time.Millisecond) {
		text, err := m.Box.Status(ctx)
		if err != nil {
			return err
		}
		wrong := unsaid(text)
		if wrong == "" || time.Now().After(end) {
			fmt.Fprintln(m.Out, text)
		}
		switch {
		case wrong == "":
			return nil
		case time.Now().After(end):
			return fmt.Errorf("gatectl status doesn't say %q", wrong)
		}
	}
}

// unsaid is the first of statusSays that text doesn't say.
func unsaid(text string) string {
	for _, want := range statusSays {
		if !regexp.MustCompile(want).MatchString(text) {
			return want
		}
	}
	return ""
}

// statusSays is what a technician should read at the end of this morning: ISP A is
// still cut, the box is on B, has the clinic's address, and has delivered.
var statusSays = []string{
	`(?m)^ *isp-a +down `, `(?m)^ *isp-b +\* +up `, `TUNNEL +hub up`, `PAIR +lan MASTER 10\.20\.0\.1/24`, room, `TO +hospital ok; ehr ok`,
}
