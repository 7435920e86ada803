package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

var nameKey = []byte("0123456789abcdef0123456789abcdef")

// patientAt makes a desk at which the patient with number 1001 is logged in, whose
// record the EHR calls p1.
func patientAt(t *testing.T) *desk {
	d := newDesk(t)
	d.role, d.scope = wire.RolePatient, "patient/*.rs"
	d.res.Body = []byte(`{"resourceType":"Patient","id":"p1","identifier":[{"value":"1001"}]}`)
	of := d.h.Roster
	d.h.Roster = func() *grant.Roster { return of().Named(nameKey) }
	d.patient = wire.Pseudonym(nameKey, "1001")
	return d
}

type logBundle struct {
	Type  string
	Total int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		Resource struct {
			ResourceType, Recorded, Outcome, OutcomeDesc string
			Agent                                        []struct{ Who struct{ Reference string } }
			PurposeOfEvent                               []struct{ Coding []struct{ Code string } }
		}
	}
}

func (d *desk) accesses(path string) (logBundle, string) {
	d.t.Helper()
	r := d.get(Base + path)
	text := body(d.t, r)
	var b logBundle
	if err := json.Unmarshal([]byte(text), &b); err != nil || r.StatusCode != http.StatusOK {
		d.t.Fatalf("%d %v %s", r.StatusCode, err, text)
	}
	return b, text
}

// A patient reads who saw the own record: reads, refusals, an emergency that was
// declared by number, and nothing of anybody else's. Asking leaves a trace.
func TestAccessLog(t *testing.T) {
	d := patientAt(t)
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	event := func(number string) json.RawMessage {
		return json.RawMessage(`{"resourceType":"AuditEvent","recorded":"x","outcomeDesc":"broke the glass","entity":[{"type":{"code":"1"},"what":{"identifier":{"value":"` + number + `"}}}]}`)
	}
	d.trail = []trail.Entry{
		{When: at, Who: "Practitioner/7", Role: "doctor", Room: "r1", Action: "read", What: "Observation/o1", Patient: "Patient/p1", Purpose: "TREAT", Outcome: "fwd"},
		{When: at, Who: "Practitioner/8", Action: "read", What: "Patient/p2", Patient: "Patient/p2", Outcome: "fwd"},
		{When: at, Action: "card", Event: event("1001"), Epoch: "e", Number: 1},
		{When: at, Action: "card", Event: event("1002"), Epoch: "e", Number: 2},
		{When: at, Who: "Practitioner/9", Role: "staff", Action: "search", What: "Observation?patient=Patient/p1", Patient: "Patient/p1", Outcome: "refused: role"},
	}
	b, text := d.accesses("/AuditEvent?patient=p1")
	if b.Type != "searchset" || b.Total != 3 || len(b.Entry) != 3 || strings.Contains(text, "p2") || strings.Contains(text, "1002") {
		t.Fatalf("got %s", text)
	}
	newest, oldest := b.Entry[0].Resource, b.Entry[2].Resource
	if newest.Outcome != "4" || newest.Agent[0].Who.Reference != "Practitioner/9" || b.Entry[1].Resource.OutcomeDesc != "broke the glass" ||
		oldest.Outcome != "0" || oldest.PurposeOfEvent[0].Coding[0].Code != "TREAT" || oldest.ResourceType != "AuditEvent" || oldest.Recorded != "2026-11-22T08:00:00Z" {
		t.Errorf("got %s", text)
	}
	last := d.trail[len(d.trail)-1]
	if last.Patient != "Patient/p1" || last.Action != "search" || last.Purpose != "PATRQT" || last.Outcome != "log" {
		t.Errorf("trace of the question: %+v", last)
	}
	b, text = d.accesses("/AuditEvent?patient=Patient/p1&_count=2&_offset=1")
	if b.Total != 4 || len(b.Entry) != 2 || b.Entry[0].Resource.Outcome != "4" || len(b.Link) != 2 ||
		b.Link[1].URL != "https://gw"+Base+"/AuditEvent?patient=Patient/p1&_count=2&_offset=3" {
		t.Errorf("second page: %s", text)
	}
}

// Who asks is told until when accesses are no longer here.
func TestAccessLogRecycled(t *testing.T) {
	d := patientAt(t)
	d.trail = []trail.Entry{{Action: "recycle", What: "AuditEvent", Mark: &trail.Mark{Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}}
	b, text := d.accesses("/AuditEvent?patient=p1")
	if b.Total != 0 || len(b.Entry) != 1 || b.Entry[0].Resource.ResourceType != "OperationOutcome" || !strings.Contains(text, "until 2026-01-02T03:04:05Z") {
		t.Errorf("got %s", text)
	}
}

// Nobody reads another's log, and professionals none.
func TestAttackOthersAccessLog(t *testing.T) {
	d := patientAt(t)
	d.trail = []trail.Entry{{Who: "Practitioner/7", Action: "read", What: "Patient/p2", Patient: "Patient/p2"}}
	d.res.Body = []byte(`{"resourceType":"Patient","id":"p2","identifier":[{"value":"1002"}]}`)
	outcome(t, d.get(Base+"/AuditEvent?patient=p2"), http.StatusForbidden, fhir.CodeForbidden)
	if got := d.trail[len(d.trail)-1]; got.Patient != "Patient/p2" || got.Outcome != "refused: other-patient" {
		t.Errorf("trace %+v", got)
	}
	for _, role := range []string{wire.RoleDoctor, wire.RoleStaff, wire.RoleNurse} {
		d.role, d.scope = role, "user/*.rs"
		outcome(t, d.get(Base+"/AuditEvent?patient=p1"), http.StatusForbidden, fhir.CodeForbidden)
	}
}

func TestAccessLogRefusals(t *testing.T) {
	for _, q := range []string{"", "?patient=", "?patient=p1&patient=p2", "?patient=p1&agent=x", "?patient=p1&_count=201", "?patient=p1&_count=0", "?patient=p1&_offset=-1", "?patient=%zz", "?date=x"} {
		d := patientAt(t)
		if r := d.get(Base + "/AuditEvent" + q); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", q, r.StatusCode)
		}
	}
	d := patientAt(t)
	d.noWalk = errors.New("disk")
	outcome(t, d.get(Base+"/AuditEvent?patient=p1"), http.StatusInternalServerError, fhir.CodeException)
	d = patientAt(t)
	d.noDisk = errors.New("full")
	outcome(t, d.get(Base+"/AuditEvent?patient=p1"), http.StatusServiceUnavailable, fhir.CodeException)
}
