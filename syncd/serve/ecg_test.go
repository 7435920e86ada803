package serve

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/format"
	"clinicgate/syncd/grant"
)

// A drawer with two ECGs of p1 and one that can't be drawn.
type drawer struct {
	all  []ECG
	body map[string][]byte
	err  error
	read int
}

func (d *drawer) List(context.Context) ([]ECG, error) { return d.all, d.err }

func (d *drawer) Find(_ context.Context, id string) (ECG, error) {
	for _, one := range d.all {
		if one.ID == id {
			return one, d.err
		}
	}
	return ECG{}, ErrNoECG
}

func (d *drawer) Body(id string) ([]byte, error) {
	d.read++
	return d.body[id], nil
}

func newDrawer(t *testing.T) *drawer {
	t.Helper()
	scp, err := os.ReadFile("../format/testdata/ecgtoolkit_example.scp")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC)
	return &drawer{
		all: []ECG{
			{ID: "0a", Kind: format.SCPECG, Origin: "ECGCART", State: "waiting", Accepted: at, Name: "CLARK^<b>ANN", Birth: "19530508", Number: "SBJ-123", Patient: fhir.Ref{Type: "Patient", ID: "p1"}},
			{ID: "0b", Kind: format.SCPECG, Origin: "ECGCART", State: "delivered", Accepted: at, Number: "SBJ-777"},
			{ID: "0c", Kind: format.AECG, Origin: "ECGCART", State: "held", Accepted: at},
		},
		body: map[string][]byte{"0a": scp, "0b": scp, "0c": []byte("<x/>")},
	}
}

func (d *desk) look(ecgs ECGs, path string, change ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{d.cert}}
	r.Header.Set("Authorization", "Bearer "+d.token())
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	Looking{Handler: d.h, ECGs: ecgs}.ServeHTTP(w, r)
	return w.Result()
}

func TestECG(t *testing.T) {
	d, box := newDesk(t), newDrawer(t)
	r := d.look(box, ECGPath)
	var list struct {
		V     int
		Items []struct{ ID, State, Name, Birth string }
	}
	if err := json.Unmarshal([]byte(body(t, r)), &list); err != nil || r.StatusCode != 200 || len(list.Items) != 3 || list.Items[0].Name != "CLARK^<b>ANN" {
		t.Fatalf("list: %d, %v, %+v", r.StatusCode, err, list)
	}
	r = d.look(box, ECGPath+"/0a")
	svg := body(t, r)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "image/svg+xml" || r.Header.Get("Cache-Control") != "no-store" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("drawing: %d %v", r.StatusCode, r.Header)
	}
	for _, want := range []string{"CLARK &lt;b&gt;ANN   19530508   SBJ-123", "received 2026-11-22 08:30:00 UTC from ECGCART", "25 mm/s   10 mm/mV   500 Hz   unfiltered   waiting", `id="V6-7.5"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in the drawing", want)
		}
	}
	if n := len(d.trail); n != 2 || d.trail[0].Action != "search" || d.trail[1].What != "upload/0a" || d.trail[1].Who != "Practitioner/1" || d.trail[1].Patient != "Patient/p1" || d.trail[1].Outcome != "shown" {
		t.Errorf("trail: %+v", d.trail)
	}
	outcome(t, d.look(box, ECGPath+"/0c"), http.StatusUnprocessableEntity, fhir.CodeNotSupported)
	outcome(t, d.look(box, ECGPath+"/ff"), http.StatusNotFound, fhir.CodeNotFound)
	outcome(t, d.look(box, ECGPath+"/../../etc/passwd"), http.StatusNotFound, fhir.CodeNotFound)
	if last := d.trail[len(d.trail)-1]; last.What != "upload/?" {
		t.Errorf("a stranger's words are in the trail: %q", last.What)
	}
	outcome(t, d.look(box, ECGPath+"/0a", func(r *http.Request) { r.Method = http.MethodPost }), http.StatusMethodNotAllowed, fhir.CodeNotSupported)
	box.err = errors.New("a disk")
	outcome(t, d.look(box, ECGPath+"/0a"), http.StatusInternalServerError, fhir.CodeException)
	outcome(t, d.look(box, ECGPath), http.StatusInternalServerError, fhir.CodeException)
}

// Only a doctor, with a live card, at the computer the login was made at; and
// nothing is shown that leaves no trace. No body is read for anybody else.
func TestECGRefused(t *testing.T) {
	d, box := newDesk(t), newDrawer(t)
	other := func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("another")}}}
	}
	for _, path := range []string{ECGPath, ECGPath + "/0a"} {
		outcome(t, d.look(box, path, func(r *http.Request) { r.Header.Del("Authorization") }), http.StatusUnauthorized, fhir.CodeLogin)
		outcome(t, d.look(box, path, other), http.StatusUnauthorized, fhir.CodeLogin)
		for _, role := range []string{wire.RoleNurse, wire.RoleStaff, wire.RolePatient} {
			d.role = role
			outcome(t, d.look(box, path), http.StatusForbidden, fhir.CodeForbidden)
		}
		d.role = wire.RoleDoctor
		d.scope = "user/Patient.rs"
		outcome(t, d.look(box, path), http.StatusForbidden, fhir.CodeForbidden)
		d.scope = "user/*.rs"
		roster := d.h.Roster
		d.h.Roster = func() *grant.Roster { return nil } // cardauth is gone
		outcome(t, d.look(box, path), http.StatusUnauthorized, fhir.CodeLogin)
		d.h.Roster = roster
		d.noDisk = errors.New("full")
		outcome(t, d.look(box, path), http.StatusServiceUnavailable, fhir.CodeException)
		d.noDisk = nil
	}
	if box.read != 1 { // the one that could not be traced
		t.Errorf("%d bodies were read", box.read)
	}
}

// Where a patient narrowed who may see it, and where reading wants care, the rules
// of records hold for ECGs too; one of nobody's can't be shown then.
func TestECGConsent(t *testing.T) {
	d, box := newDesk(t), newDrawer(t)
	d.res = cache.Result{How: cache.Fetched, Answer: fhir.Answer{Body: []byte(`{"resourceType":"Patient","id":"p1","identifier":[{"value":"SBJ-123"}]}`), At: time.Now()}}
	key := make([]byte, wire.PatientKeySize)
	rand.Read(key)
	card := &wire.Card{}
	d.h.Roster = func() *grant.Roster {
		base := d.card()
		base.ReadsNeedCare, base.Consents, base.Care = card.ReadsNeedCare, card.Consents, card.Care
		r, err := grant.NewRoster(base)
		if err != nil {
			t.Fatal(err)
		}
		return r.Named(key)
	}
	count := func() int {
		var list struct{ Items []struct{ ID string } }
		if err := json.Unmarshal([]byte(body(t, d.look(box, ECGPath))), &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := count(); n != 3 {
		t.Fatalf("%d are listed before anybody said anything", n)
	}
	card.Consents = []wire.Consent{{Patient: wire.Pseudonym(key, "SBJ-123"), Who: []string{"Practitioner/1"}}}
	outcome(t, d.look(box, ECGPath+"/0a"), http.StatusForbidden, fhir.CodeForbidden)
	outcome(t, d.look(box, ECGPath+"/0c"), http.StatusForbidden, fhir.CodeForbidden) // it may be hers
	if n := count(); n != 0 {
		t.Errorf("%d are listed", n)
	}
	card.Consents, card.ReadsNeedCare = nil, true
	outcome(t, d.look(box, ECGPath+"/0a"), http.StatusForbidden, fhir.CodeForbidden)
	card.Care = []wire.Care{{ID: "c", Session: "s1", Patient: wire.Pseudonym(key, "SBJ-123"), Basis: wire.CarePresent}}
	if r := d.look(box, ECGPath+"/0a"); r.StatusCode != 200 {
		t.Errorf("with the patient's card in: %d", r.StatusCode)
	}
	if n := count(); n != 1 {
		t.Errorf("%d are listed to whoever cares for one", n)
	}
	if box.read != 1 {
		t.Errorf("%d bodies were read", box.read)
	}
}
