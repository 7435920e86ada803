package morning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/image/lab/clinic"
	"clinicgate/image/lab/station"
)

// PIN is the doctor's.
const PIN = "246810"

// room is where the reader is.
const room = "consulting-1"

// InsertCard puts the doctor's card into a reader.
func (m *Morning) InsertCard(slot *pivcard.Slot) error {
	if m.doctor == nil {
		return errors.New("insert card: no card was issued yet")
	}
	return slot.Insert(m.doctor)
}

// prepare sets the workstation up, issues the cards and picks the patients.
func (m *Morning) prepare() error {
	var err error
	m.ws, err = station.New(station.Config{
		Space: m.Clinic.Workstation, Gateway: clinic.Gateway, Name: pki.GatewayName,
		CA: m.Clinic.Device("ca.pem"), Cert: m.Clinic.Device("ws1.crt"), Key: m.Clinic.Device("ws1.key"),
	})
	if err != nil {
		return err
	}
	if m.doctor, err = issue(m.Clinic.World.Professionals); err != nil {
		return err
	}
	if m.foreign, err = issue(m.Clinic.World.Foreign); err != nil {
		return err
	}
	patients, err := m.patients()
	if err != nil {
		return err
	}
	m.seen.path, m.unseen = patients[0], patients[1]
	return nil
}

// issue makes a doctor's card whose certificates are signed by ca.
func issue(ca *pki.CA) (*pivcard.Card, error) {
	card, err := pivcard.New(PIN)
	if err != nil {
		return nil, err
	}
	who := pki.Person{Name: "Rosa Alba", Registration: "282864321", Profession: pki.Doctor, GUID: card.GUID()}
	for _, slot := range []byte{pki.SlotAuthentication, pki.SlotSignature, pki.SlotKeyManagement, pki.SlotCardAuth} {
		der, err := ca.CardCertificate(who, slot, card.Public(slot))
		if err != nil {
			return nil, err
		}
		if err := card.PutCertificate(slot, der); err != nil {
			return nil, err
		}
	}
	return card, nil
}

// patients are the paths of the EHR's patients, from its ground truth.
func (m *Morning) patients() ([]string, error) {
	all, err := m.Clinic.EHR.Dump()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, r := range all {
		if r.Type == "Patient" {
			paths = append(paths, "Patient/"+r.ID)
		}
	}
	if len(paths) < 2 {
		return nil, fmt.Errorf("the EHR has %d patients, want 2", len(paths))
	}
	return paths, nil
}

func (m *Morning) signIn(ctx context.Context) error {
	if m.ws == nil {
		if err := m.prepare(); err != nil {
			return err
		}
	}
	if err := m.InsertCard(m.Slot); err != nil {
		return err
	}
	return m.enterPIN(ctx)
}

// settle is how long a person waits for the reader's light: pcscd looks every 400
// ms, a card must answer before it is known, and a box that has just booted is
// still finding its readers.
const settle = time.Minute

// enterPIN signs in, waiting while the gateway says that there is no card yet.
func (m *Morning) enterPIN(ctx context.Context) error {
	login, err := m.try(ctx, PIN)
	if err != nil {
		return err
	}
	if login.Session.Room != room || login.Session.Role != "doctor" {
		return fmt.Errorf("signed in as %+v, want a doctor in %s", login.Session, room)
	}
	m.login, m.renewed = login, time.Now()
	return nil
}

// try signs in; "no-reader" and "no-card" right after a card went in mean not yet.
func (m *Morning) try(ctx context.Context, pin string) (*station.Login, error) {
	for end := time.Now().Add(settle); ; time.Sleep(100 * time.Millisecond) {
		login, err := m.ws.Login(ctx, room, pin)
		var no *station.Refusal
		if !errors.As(err, &no) || !no.Of("no-card") && !no.Of("no-reader") || time.Now().After(end) {
			return login, err
		}
	}
}

// token is a fresh token of the live session.
func (m *Morning) token(ctx context.Context) (string, error) {
	if time.Since(m.renewed) > time.Duration(m.login.ExpiresIn)*time.Second/2 {
		login, err := m.ws.Renew(ctx, m.login.Token)
		if err != nil {
			return "", fmt.Errorf("renew token: %w", err)
		}
		m.login.Token, m.renewed = login.Token, time.Now()
	}
	return m.login.Token, nil
}

// stalls is how often in a morning an emulated box may stand still for so long that the
// session ends, which a session must do when its card falls silent, or that the cloud's
// answer comes too late, where two boxes share the processors.
const stalls = 10

// read asks for a record as the signed-in doctor. At an emulated box, which may have
// stood still, the doctor does what the answer says: signs in again, or tries again.
func (m *Morning) read(ctx context.Context, path string, status int) (*station.Answer, error) {
	a, err := m.readOnce(ctx, path)
	for m.Clinic.Slow && m.stalled < stalls {
		late := m.Second != nil && err == nil && a.Status == http.StatusGatewayTimeout && status == http.StatusOK
		switch {
		case late:
			m.tellStall("the cloud's answer came too late: the doctor tries again")
		case over(a, err) && status != http.StatusUnauthorized:
			m.tellStall("the session is over: the doctor signs in again")
			if err := m.enterPIN(ctx); err != nil {
				return nil, err
			}
		default:
			return wanted(a, err, path, status)
		}
		a, err = m.readOnce(ctx, path)
	}
	return wanted(a, err, path, status)
}

func (m *Morning) tellStall(what string) {
	m.stalled++
	fmt.Fprintf(m.Out, "              the emulated box stood still, %s (%d of at most %d)\n", what, m.stalled, stalls)
}

// wanted is the answer, if it is the one to get.
func wanted(a *station.Answer, err error, path string, status int) (*station.Answer, error) {
	if err != nil {
		return nil, err
	}
	if a.Status != status {
		return a, fmt.Errorf("read %s: got %d, want %d: %.300s", kind(path), a.Status, status, a.Body)
	}
	return a, nil
}

func (m *Morning) readOnce(ctx context.Context, path string) (*station.Answer, error) {
	token, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	return m.ws.Read(ctx, token, path)
}

// over says whether a refusal means that the session has ended.
func over(a *station.Answer, err error) bool {
	var no *station.Refusal
	return errors.As(err, &no) && (no.Of("session-over") || no.Of("invalid-token")) || err == nil && a.Status == http.StatusUnauthorized
}

// kind is a path without its identifiers, for errors.
func kind(path string) string {
	name, _, _ := strings.Cut(path, "?")
	name, _, _ = strings.Cut(name, "/")
	return name
}

func (m *Morning) readPatient(ctx context.Context) error {
	a, err := m.read(ctx, m.seen.path, http.StatusOK)
	if err != nil {
		return err
	}
	truth, err := m.truth(m.seen.path)
	if err != nil {
		return err
	}
	if !bytes.Equal(a.Body, truth) {
		return fmt.Errorf("got other bytes than the EHR holds: %d, want %d", len(a.Body), len(truth))
	}
	m.seen.body, m.seen.etag = a.Body, a.Header.Get("ETag")
	if m.seen.etag == "" {
		return errors.New("the record came without its version (ETag)")
	}
	return nil
}

// truth is what the EHR holds at path.
func (m *Morning) truth(path string) ([]byte, error) {
	all, err := m.Clinic.EHR.Dump()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.Type+"/"+r.ID == path {
			return r.Raw, nil
		}
	}
	return nil, fmt.Errorf("the EHR has no %s", kind(path))
}

// observations are found by a search for the seen patient.
func (m *Morning) observations(ctx context.Context) (ids []string, _ *station.Answer, err error) {
	patient := strings.TrimPrefix(m.seen.path, "Patient/")
	a, err := m.read(ctx, "Observation?patient="+patient, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	var bundle struct {
		Type  string
		Entry []struct {
			Resource struct {
				ResourceType, ID string
				Subject          struct{ Reference string }
			}
		}
	}
	if err := json.Unmarshal(a.Body, &bundle); err != nil || bundle.Type != "searchset" {
		return nil, nil, errors.Join(fmt.Errorf("got a Bundle of type %q, want searchset", bundle.Type), err)
	}
	for _, e := range bundle.Entry {
		r := e.Resource
		if r.ResourceType == "OperationOutcome" {
			continue
		}
		if r.ResourceType != "Observation" || r.Subject.Reference != m.seen.path {
			return nil, nil, fmt.Errorf("found a %s of another patient", r.ResourceType)
		}
		ids = append(ids, r.ID)
	}
	if len(ids) == 0 {
		return nil, nil, errors.New("found no Observations of the patient")
	}
	return ids, a, nil
}

func (m *Morning) readObservations(ctx context.Context) error {
	_, _, err := m.observations(ctx)
	return err
}

func (m *Morning) refuseNoCard(ctx context.Context) error {
	old := m.login.Token
	m.Slot.Remove()
	if err := m.dead(ctx, old); err != nil {
		return err
	}
	return m.wait(ctx, "no-card")
}

func (m *Morning) refuseWrongPIN(ctx context.Context) error {
	if err := m.Slot.Insert(m.doctor); err != nil {
		return err
	}
	before := m.doctor.Tries()
	_, err := m.try(ctx, "999999")
	if err := wantRefusal(err, "wrong-pin"); err != nil {
		return err
	}
	var no *station.Refusal
	errors.As(err, &no)
	if left := m.doctor.Tries(); left != before-1 || no.TriesLeft == nil || *no.TriesLeft != left {
		return fmt.Errorf("the card has %d tries of %d left, the refusal says %v", left, before, no.TriesLeft)
	}
	m.Slot.Remove()
	return nil
}

func (m *Morning) refuseForeignCard(ctx context.Context) error {
	if err := m.wait(ctx, "no-card"); err != nil { // the doctor's card must be seen out
		return err
	}
	if err := m.Slot.Insert(m.foreign); err != nil {
		return err
	}
	_, err := m.try(ctx, PIN)
	if err := wantRefusal(err, "untrusted-card"); err != nil {
		return err
	}
	m.Slot.Remove()
	if err := m.wait(ctx, "no-card"); err != nil {
		return err
	}
	return m.signIn(ctx) // for the rest of the morning
}

// wait tries to sign in without a PIN to lose until the refusal is of this kind.
func (m *Morning) wait(ctx context.Context, kind string) error {
	for end := time.Now().Add(settle); ; time.Sleep(100 * time.Millisecond) {
		_, err := m.ws.Login(ctx, room, PIN)
		if err = wantRefusal(err, kind); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func wantRefusal(err error, kind string) error {
	var no *station.Refusal
	switch {
	case err == nil:
		return fmt.Errorf("signed in, want the refusal %s", kind)
	case !errors.As(err, &no):
		return fmt.Errorf("want the refusal %s: %w", kind, err)
	case !no.Of(kind):
		return fmt.Errorf("got the refusal %s, want %s", no.Type, kind)
	}
	return nil
}

func (m *Morning) loseISPA(ctx context.Context) error {
	ids, _, err := m.observations(ctx)
	if err != nil {
		return err
	}
	m.Clinic.Cables[clinic.CableA].Cut()
	// A record that can't be in the cache: only the cloud can answer.
	a, err := m.read(ctx, "Observation/"+ids[0], http.StatusOK)
	if err != nil {
		return err
	}
	if stale(a) {
		return fmt.Errorf("got a stale answer: %s", a.Header.Get("Cache-Status"))
	}
	return nil
}

// stale says whether an answer is marked as older than it should be (RFC 9211).
func stale(a *station.Answer) bool {
	_, ttl, found := strings.Cut(a.Header.Get("Cache-Status"), "ttl=-")
	return found && ttl != ""
}

func (m *Morning) loseBoth(ctx context.Context) error {
	m.Clinic.Cables[clinic.CableB].Cut()
	a, err := m.read(ctx, m.seen.path, http.StatusOK)
	if err != nil {
		return err
	}
	if !bytes.Equal(a.Body, m.seen.body) || a.Header.Get("ETag") != m.seen.etag {
		return errors.New("got another record than before")
	}
	age, err := strconv.Atoi(a.Header.Get("Age"))
	if err != nil || age < 1 || !stale(a) {
		return fmt.Errorf("not marked as stale: Age %q, Cache-Status %q", a.Header.Get("Age"), a.Header.Get("Cache-Status"))
	}
	return nil
}

func (m *Morning) readUnseen(ctx context.Context) error {
	a, err := m.read(ctx, m.unseen, http.StatusGatewayTimeout)
	if err != nil {
		return err
	}
	var outcome struct {
		ResourceType string
		Issue        []struct {
			Severity, Code, Diagnostics string
			Details                     struct{ Text string }
		}
	}
	if err := json.Unmarshal(a.Body, &outcome); err != nil {
		return fmt.Errorf("504 without an OperationOutcome: %w", err)
	}
	if outcome.ResourceType != "OperationOutcome" || len(outcome.Issue) == 0 || outcome.Issue[0].Diagnostics+outcome.Issue[0].Details.Text == "" {
		return fmt.Errorf("504 that doesn't say what to do: %.300s", a.Body)
	}
	return nil
}

func (m *Morning) cardOut(ctx context.Context) error {
	// After the power cut the doctor has to sign in again: sessions live in
	// memory. The card is still in the reader.
	if err := m.enterPIN(ctx); err != nil {
		return err
	}
	if _, err := m.read(ctx, m.seen.path, http.StatusOK); err != nil {
		return err
	}
	m.Slot.Remove()
	return m.dead(ctx, m.login.Token)
}

// removal is how long a token may outlive its card: pcscd's 400 ms and an emulated
// machine's slowness.
const removal = 15 * time.Second

// dead waits until the token is refused.
func (m *Morning) dead(ctx context.Context, token string) error {
	for end := time.Now().Add(removal); ; time.Sleep(50 * time.Millisecond) {
		a, err := m.ws.Read(ctx, token, m.seen.path)
		if err != nil {
			return err
		}
		if a.Status == http.StatusUnauthorized {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the token still works %v after its card left: %d", removal, a.Status)
		}
	}
}
