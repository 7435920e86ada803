package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/amend"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/pending"
)

// A scribe takes edits as a desk does, and has them done or keeps them.
type scribe struct {
	made   []pending.Edit
	state  pending.State
	err    error
	stands map[string]cache.Result
}

func (s *scribe) Make(_ context.Context, e pending.Edit) (amend.Outcome, error) {
	if s.err != nil {
		return amend.Outcome{}, s.err
	}
	for _, old := range s.made {
		if old.ID == e.ID {
			return amend.Outcome{Edit: old}, nil
		}
	}
	e.State = s.state
	if s.state == pending.Done {
		for i := range e.Changes {
			e.Changes[i].At, e.Changes[i].Version = e.Changes[i].Ref, "7"
		}
	}
	s.made = append(s.made, e)
	return amend.Outcome{Edit: e}, nil
}

func (s *scribe) Now(ref fhir.Ref) fhir.Ref           { return ref }
func (s *scribe) Current(body []byte) ([]byte, error) { return body, nil }

func (s *scribe) read(_ context.Context, ref fhir.Ref) (cache.Result, error) {
	if r, ok := s.stands[ref.String()]; ok {
		return r, nil
	}
	return cache.Result{}, fhir.ErrUnreachable
}

const (
	onP1  = `{"resourceType":"Observation","status":"final","code":{"text":"a"},"subject":{"reference":"Patient/p1"}}`
	oneP1 = `{"resourceType":"Observation","id":"o1","meta":{"versionId":"3"},"status":"final","valueDecimal":1.00,"subject":{"reference":"Patient/p1"}}`
)

// writer is a desk at which Patient/p1 is cared for.
func writer(t *testing.T) (*desk, *scribe) {
	t.Helper()
	d := newDesk(t)
	key := make([]byte, wire.PatientKeySize)
	care := []wire.Care{{ID: "c", Session: "s1", Patient: wire.Pseudonym(key, "p1"), Basis: wire.CarePresent}}
	d.h.Roster = func() *grant.Roster {
		card := d.card()
		card.Care = care
		r, err := grant.NewRoster(card)
		if err != nil {
			t.Fatal(err)
		}
		return r.Named(key)
	}
	of := func(body string) cache.Result {
		return cache.Result{How: cache.Fetched, Answer: fhir.Answer{Body: []byte(body), ETag: `W/"3"`, At: time.Now()}}
	}
	s := &scribe{state: pending.Done, stands: map[string]cache.Result{
		"Observation/o1": of(oneP1),
		"Observation/o2": of(strings.NewReplacer("o1", "o2", "Patient/p1", "Patient/p2").Replace(oneP1)),
		"Patient/p1":     of(patient),
	}}
	d.h.Writing = &Writing{Writes: s, Stands: s.read}
	return d, s
}

// send makes a request with a body; headers are name, value and so on.
func (d *desk) send(method, path, text string, headers ...string) *http.Response {
	return d.get(path, func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = method, io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Type", "application/fhir+json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	})
}

func TestWrites(t *testing.T) {
	d, s := writer(t)
	r := d.send("POST", Base+"/Observation", onP1)
	if r.StatusCode != 201 || r.Header.Get("ETag") != `W/"7"` || !strings.HasSuffix(r.Header.Get("Location"), "/_history/7") {
		t.Errorf("create: %d %v %s", r.StatusCode, r.Header, body(t, r))
	}
	e := s.made[0]
	if !e.Changes[0].New || e.Patient.ID != "p1" || e.Who != "Practitioner/1" || e.Purpose != grant.Treatment || string(e.Changes[0].Body) != onP1 {
		t.Errorf("made %+v", e)
	}
	if n := len(d.trail); n != 2 || d.trail[0].Outcome != "begun" || d.trail[1].Outcome != "written" || d.trail[1].Action != "create" || d.trail[1].Patient != "Patient/p1" {
		t.Errorf("trail: %+v", d.trail)
	}
	if r := d.send("PUT", Base+"/Observation/o1", oneP1, "If-Match", `W/"2"`); r.StatusCode != 200 || s.made[1].Changes[0].Base != "2" {
		t.Errorf("update by If-Match: %d %+v", r.StatusCode, s.made[1])
	}
	if r := d.send("PUT", Base+"/Observation/o1", oneP1, "Prefer", "return=minimal"); r.StatusCode != 200 || s.made[2].Changes[0].Base != "3" || body(t, r) != "" {
		t.Errorf("update by meta.versionId: %d %+v", r.StatusCode, s.made[2])
	}
	const patch = `[{"op":"replace","path":"/status","value":"amended"}]`
	if r := d.send("PATCH", Base+"/Observation/o1", patch, "Content-Type", "application/json-patch+json"); r.StatusCode != 200 || !strings.Contains(string(s.made[3].Changes[0].Body), `"status":"amended","valueDecimal":1.00`) {
		t.Errorf("patch: %d %+v %s", r.StatusCode, s.made[3], s.made[3].Changes[0].Body)
	}
	if r := d.send("DELETE", Base+"/Observation/o1", ""); r.StatusCode != 200 || !s.made[4].Changes[0].Hide || !strings.Contains(body(t, r), "nothing of it is deleted") {
		t.Errorf("delete: %d %+v", r.StatusCode, s.made[4])
	}
	s.state = pending.Waiting
	r = d.send("POST", Base+"/Observation", onP1, "Prefer", "return=OperationOutcome", "Idempotency-Key", "k")
	if r.StatusCode != 202 || r.Header.Get(PendingHeader) != "1" || !strings.Contains(body(t, r), "on its way") || strings.Contains(r.Header.Get("Location"), "_history") {
		t.Errorf("kept: %d %v", r.StatusCode, r.Header)
	}
	if again := d.send("POST", Base+"/Observation", onP1, "Idempotency-Key", "k"); again.Header.Get("Location") != r.Header.Get("Location") {
		t.Errorf("once more: %v", again.Header)
	}
	outcome(t, d.send("POST", Base+"/Observation", strings.Replace(onP1, "final", "amended", 1), "Idempotency-Key", "k"), 422, fhir.CodeConflict)
}

func TestWriteRefusals(t *testing.T) {
	d, s := writer(t)
	bundle := func(entries ...string) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
	}
	post := func(resource string) string {
		return `{"resource":` + resource + `,"request":{"method":"POST","url":"Observation"}}`
	}
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code               string
	}{
		"another patient":        {"POST", "/Observation", strings.Replace(onP1, "p1", "p2", 1), nil, 403, fhir.CodeForbidden},
		"nobody's":               {"POST", "/Observation", `{"resourceType":"Observation","status":"final"}`, nil, 422, fhir.CodeInvalid},
		"another's changed":      {"PUT", "/Observation/o2", strings.Replace(oneP1, "o1", "o2", 1), nil, 422, fhir.CodeConflict},
		"another's hidden":       {"DELETE", "/Observation/o2", "", nil, 403, fhir.CodeForbidden},
		"moved away":             {"PUT", "/Observation/o1", strings.Replace(oneP1, "p1", "p2", 1), nil, 422, fhir.CodeConflict},
		"moved by a patch":       {"PATCH", "/Observation/o1", `[{"op":"replace","path":"/subject/reference","value":"Patient/p2"}]`, []string{"Content-Type", "application/json-patch+json"}, 422, fhir.CodeConflict},
		"never read":             {"PUT", "/Observation/o9", strings.Replace(oneP1, "o1", "o9", 1), nil, 504, fhir.CodeTimeout},
		"no version":             {"PUT", "/Observation/o1", strings.Replace(oneP1, `"meta":{"versionId":"3"},`, "", 1), nil, 400, fhir.CodeInvalid},
		"a bad version":          {"PUT", "/Observation/o1", oneP1, []string{"If-Match", "3"}, 400, fhir.CodeInvalid},
		"another id":             {"PUT", "/Observation/o1", strings.Replace(oneP1, "o1", "o3", 1), nil, 400, fhir.CodeInvalid},
		"another type":           {"POST", "/Condition", onP1, nil, 400, fhir.CodeInvalid},
		"not JSON":               {"POST", "/Observation", "<Observation/>", nil, 400, fhir.CodeInvalid},
		"XML":                    {"POST", "/Observation", "<Observation/>", []string{"Content-Type", "application/fhir+xml"}, 415, fhir.CodeNotSupported},
		"a name twice":           {"POST", "/Observation", strings.Replace(onP1, `"status"`, `"subject":{"reference":"Patient/p2"},"status"`, 1), nil, 400, fhir.CodeInvalid},
		"FHIRPath Patch":         {"PATCH", "/Observation/o1", `{"resourceType":"Parameters"}`, nil, 415, fhir.CodeNotSupported},
		"a patch of nothing":     {"PATCH", "/Observation/o1", `[{"op":"remove","path":"/x"}]`, []string{"Content-Type", "application/json-patch+json"}, 422, fhir.CodeInvalid},
		"no patch":               {"PATCH", "/Observation/o1", `{}`, []string{"Content-Type", "application/json-patch+json"}, 400, fhir.CodeInvalid},
		"conditional update":     {"PUT", "/Observation?identifier=a|b", oneP1, nil, 501, fhir.CodeNotSupported},
		"a wide condition":       {"POST", "/Observation", onP1, []string{"If-None-Exist", "subject=Patient/p2"}, 400, fhir.CodeInvalid},
		"a patient hidden":       {"DELETE", "/Patient/p1", "", nil, 405, fhir.CodeNotSupported},
		"a type not written":     {"POST", "/Practitioner", `{"resourceType":"Practitioner"}`, nil, 405, fhir.CodeNotSupported},
		"no type":                {"POST", "/Nothing", `{}`, nil, 404, fhir.CodeNotFound},
		"POST to an id":          {"POST", "/Observation/o1", onP1, nil, 404, fhir.CodeNotFound},
		"too long":               {"POST", "/Observation", strings.Replace(onP1, "final", strings.Repeat("x", maxResource), 1), nil, 400, fhir.CodeInvalid},
		"a transaction of two":   {"POST", "", bundle(post(onP1), post(strings.Replace(onP1, "p1", "p2", 1))), nil, 422, fhir.CodeConflict},
		"the same twice":         {"POST", "", bundle(`{"request":{"method":"DELETE","url":"Observation/o1"}}`, `{"request":{"method":"DELETE","url":"Observation/o1"}}`), nil, 400, fhir.CodeInvalid},
		"an entry of nothing":    {"POST", "", bundle(`{"request":{"method":"POST","url":"Observation"}}`), nil, 400, fhir.CodeInvalid},
		"a key beyond all bound": {"POST", "/Observation", onP1, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, fhir.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) { outcome(t, d.send(c.method, Base+c.path, c.body, c.headers...), c.status, c.code) })
	}
	// Whoever may not is told so, and nothing is looked at.
	for _, role := range []string{wire.RoleNurse, wire.RoleStaff, wire.RolePatient} {
		d.role = role
		outcome(t, d.send("POST", Base+"/Observation", onP1), 403, fhir.CodeForbidden)
	}
	d.role, d.scope = wire.RoleDoctor, "user/*.rs"
	outcome(t, d.send("POST", Base+"/Observation", onP1), 403, fhir.CodeForbidden)
	d.scope = "user/*.cruds"
	outcome(t, d.send("POST", Base+"/Observation", onP1, "Authorization", "Bearer none"), 401, fhir.CodeLogin)
	roster := d.h.Roster
	calls := 0
	d.h.Roster = func() *grant.Roster { // the card leaves while the body is on its way
		if calls++; calls > 2 {
			return nil
		}
		return roster()
	}
	if r := d.send("POST", Base+"/Observation", onP1); r.StatusCode != 401 {
		t.Errorf("a card that left: %d", r.StatusCode)
	}
	d.h.Roster = roster
	d.noDisk = errors.New("full")
	outcome(t, d.send("POST", Base+"/Observation", onP1), 503, fhir.CodeException)
	d.noDisk = nil
	if len(s.made) != 0 {
		t.Errorf("made %+v", s.made)
	}
	s.err = &fhir.Refusal{Status: 412, Body: fhir.Failure(fhir.CodeConflict, "version")}
	outcome(t, d.send("PUT", Base+"/Observation/o1", oneP1), 412, fhir.CodeConflict)
	s.err = errors.New("a disk")
	outcome(t, d.send("POST", Base+"/Observation", onP1), 503, fhir.CodeTransient)
}

// A transaction's changes are one edit; its entries find each other.
func TestTransactionOfChanges(t *testing.T) {
	d, s := writer(t)
	text := body(t, d.post(Base, "application/fhir+json", `{"resourceType":"Bundle","type":"transaction","entry":[
		{"request":{"method":"GET","url":"Patient/p1"}},
		{"fullUrl":"urn:uuid:1","resource":`+onP1+`,"request":{"method":"POST","url":"Observation"}},
		{"resource":{"resourceType":"DiagnosticReport","status":"final","subject":{"reference":"Patient/p1"},"result":[{"reference":"urn:uuid:1"}]},"request":{"method":"POST","url":"DiagnosticReport"}},
		{"resource":`+oneP1+`,"request":{"method":"PUT","url":"Observation/o1","ifMatch":"W/\"3\""}}]}`))
	if len(s.made) != 1 || len(s.made[0].Changes) != 3 || strings.Count(text, `"status":"201"`) != 2 || strings.Count(text, `"status":"200"`) != 2 || !strings.Contains(text, "multipleBirthInteger") {
		t.Fatalf("%+v\n%s", s.made, text)
	}
	if c := s.made[0].Changes; !strings.Contains(string(c[1].Body), `"Observation/`+c[0].Ref.ID+`"`) || c[2].Base != "3" {
		t.Errorf("%s", c[1].Body)
	}
}
