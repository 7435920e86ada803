package pending

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/fhir"
)

func TestPlain(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"bytes stay":        {`{"resourceType":"Observation","valueDecimal":1.00,"x":{"y" : [1]}}`, `{"resourceType":"Observation","id":"a","valueDecimal":1.00,"x":{"y" : [1]}}`},
		"versions go":       {`{"id":"b","resourceType":"Observation","meta":{"versionId":"3","lastUpdated":"2026-11-22T08:00:00Z"}}`, `{"resourceType":"Observation","id":"a"}`},
		"other marks stay":  {`{"resourceType":"Observation","meta":{"profile":["p"],"tag":[{"system":"urn:x","code":"1"},{"system":"urn:clinicgate:pending","code":"pending"}]}}`, `{"resourceType":"Observation","id":"a","meta":{"tag":[{"system":"urn:x","code":"1"}],"profile":["p"]}}`},
		"identifiers stay":  {`{"resourceType":"Observation","identifier":[{"value":"1"}],"status":"final"}`, `{"resourceType":"Observation","id":"a","identifier":[{"value":"1"}],"status":"final"}`},
		"our own are taken": {`{"resourceType":"Observation","meta":{"tag":[{"system":"urn:clinicgate:hidden","code":"hidden"}]}}`, `{"resourceType":"Observation","id":"a"}`},
	} {
		got, err := Plain([]byte(c.body), "a")
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	for _, bad := range []string{`[]`, `{`, `{"identifier":{}}`, `{"meta":{"tag":"x"}}`, `{"a":1,"A":2}`} {
		if got, err := Plain([]byte(bad), "a"); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}

func TestHidden(t *testing.T) {
	for body, want := range map[string]bool{
		`{"meta":{"tag":[{"system":"urn:clinicgate:hidden","code":"hidden","display":"x"}]}}`: true,
		`{"meta":{"tag":[{"system":"urn:clinicgate:hidden","code":"no"}]}}`:                   false,
		`{"note":[{"text":"urn:clinicgate:hidden"}]}`:                                         false,
		`{}`: false,
	} {
		if Hidden([]byte(body)) != want {
			t.Errorf("%s: hidden %v", body, !want)
		}
	}
}

// What the EHR is sent carries the marks by which it is found again, and no others.
func TestOutgoing(t *testing.T) {
	b := NewBook("https://ehr/R4")
	obs := fhir.Ref{Type: "Observation", ID: "here"}
	made := Edit{ID: "e1", Seq: 1, Patient: fhir.Ref{Type: "Patient", ID: "p"}, State: Waiting, Changes: []Change{{Ref: obs, New: true, Body: []byte(`{"resourceType":"Observation","status":"final"}`)}}}
	b.Put(made)
	next := Edit{ID: "e2", Seq: 2, Patient: made.Patient, State: Waiting, Changes: []Change{{Ref: obs, Base: made.Version(0), Body: []byte(`{"resourceType":"Observation","derivedFrom":[{"reference":"https://ehr/R4/Observation/here"}]}`)}}}
	b.Put(next)
	out, ready, err := b.Outgoing(made)
	if err != nil || !ready || out[0].NoneExist != "identifier=urn:clinicgate:edit|e1" || out[0].Ref.ID != "" ||
		string(out[0].Body) != `{"resourceType":"Observation","meta":{"tag":[{"system":"urn:clinicgate:edit","code":"e1"}]},"identifier":[{"system":"urn:clinicgate:edit","value":"e1"}],"status":"final"}` {
		t.Fatalf("%v %v %+v %s", err, ready, out, out[0].Body)
	}
	if _, ready, err := b.Outgoing(next); ready || err != nil {
		t.Errorf("a change of what is not made yet: %v, %v", ready, err)
	}
	made.State, made.Changes[0].At, made.Changes[0].Version = Done, fhir.Ref{Type: "Observation", ID: "there"}, "v1"
	b.Put(made)
	out, ready, err = b.Outgoing(next)
	if err != nil || !ready || out[0].Ref.ID != "there" || out[0].Base != "v1" || !strings.Contains(string(out[0].Body), `"reference":"Observation/there"`) {
		t.Errorf("%v %v %+v %s", err, ready, out, out[0].Body)
	}
	if v, ok := b.Of(fhir.Ref{Type: "Observation", ID: "there"}); !ok || v.Version != "pending-e2" {
		t.Errorf("by the EHR's name: %+v", v)
	}
	made.Changes[0].Found = true
	b.Put(made)
	if _, _, err := b.Outgoing(next); err == nil {
		t.Error("a change goes over a version that nobody here has seen")
	}
	b.Forget("e1")
	if _, _, err := b.Outgoing(next); err == nil {
		t.Error("a change of what nobody knows any more is sent")
	}
}

func TestBookForgets(t *testing.T) {
	b, now := NewBook(""), time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	patient := fhir.Ref{Type: "Patient", ID: "p"}
	for i, state := range []State{Waiting, Done, Refused, Clashed, Clashed} {
		b.Put(Edit{ID: string(rune('a' + i)), Seq: uint64(i), Patient: patient, State: state, Ended: now, Settled: i == 4, Changes: []Change{{Ref: fhir.Ref{Type: "Observation", ID: "o"}}}})
	}
	if got := strings.Join(b.Old(now.Add(time.Hour), time.Hour), ""); got != "" {
		t.Errorf("old after an hour: %s", got)
	}
	if got := strings.Join(b.Old(now.Add(2*time.Hour), time.Hour), ""); got != "bce" {
		t.Errorf("old: %s, want bce: nothing under way, no open clash", got)
	}
	b.Forget("a")
	if b.Len() != 0 || len(b.Patients()) != 0 || len(b.Views(patient)) != 0 {
		t.Error("what is forgotten is still there")
	}
}

func FuzzPlain(f *testing.F) {
	f.Add(`{"resourceType":"Observation","id":"x","meta":{"tag":[{"system":"urn:clinicgate:edit"}]},"identifier":[{}],"v":1.00}`)
	f.Add(`{"meta":null,"identifier":[]}`)
	f.Add(`{"meta":{"tag":[[]]},"reference":"urn:uuid:x"}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := Plain([]byte(body), "a")
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q became %q", body, got)
		}
		again, err := Plain(got, "a")
		if err != nil || string(again) != string(got) {
			t.Fatalf("%q became %q, and then %q, %v", body, got, again, err)
		}
	})
}
