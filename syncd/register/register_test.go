package register

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/worklist"
)

// An office is an EHR and a cache in memory.
type office struct {
	t       *testing.T
	answers map[string]string // what the EHR says
	kept    map[string]fhir.Answer
	down    bool
	asked   int
	reg     *Register
}

func (o *office) Read(_ context.Context, q fhir.Query) (cache.Result, error) {
	if o.down {
		if a, ok := o.kept[q.Key()]; ok {
			return cache.Result{Answer: a, How: cache.Stale}, nil
		}
		return cache.Result{}, fhir.ErrUnreachable
	}
	o.asked++
	body, ok := o.answers[q.Key()]
	if !ok {
		return cache.Result{Answer: fhir.Answer{Body: fhir.Join(nil)}, How: cache.Fetched}, nil
	}
	a := fhir.Answer{Body: []byte(body), At: time.Now()}
	o.kept[q.Key()] = a
	o.reg.Learn(q, a)
	return cache.Result{Answer: a, How: cache.Fetched}, nil
}

func (o *office) Get(key string) (fhir.Answer, bool, error) {
	a, ok := o.kept[key]
	return a, ok, nil
}

func (o *office) Put(key string, a fhir.Answer) error { o.kept[key] = a; return nil }

func (o *office) start() {
	o.reg = New(Options{Store: o, Log: slog.New(slog.DiscardHandler)})
	o.reg.Through(o, o)
}

func patientOf(id, number, family string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"identifier":[{"value":%q}],"name":[{"family":%q,"given":["Anna"]}],"birthDate":"1970-02-03"}`, id, number, family)
}

func set(resources ...string) string {
	var entries []json.RawMessage
	for _, r := range resources {
		entries = append(entries, json.RawMessage(`{"resource":`+r+`}`))
	}
	return string(fhir.Join(entries))
}

func newOffice(t *testing.T) *office {
	o := &office{t: t, answers: map[string]string{}, kept: map[string]fhir.Answer{}}
	o.start()
	return o
}

// Patients who were read before are known without the EHR; others are not, and it
// is said that nobody was asked.
func TestKnow(t *testing.T) {
	o := newOffice(t)
	o.answers["Patient/p1"] = patientOf("p1", "4711", "Roe")
	o.answers[fhir.Carriers("4712").Key()] = set(patientOf("p2", "4712", "Doe"))
	know := func(id string) identity.Knowledge { return o.reg.Know(t.Context(), identity.Claim{ID: id}) }
	if k := know("4712"); !k.Asked || len(k.Persons) != 1 || k.Persons[0].Ref != "Patient/p2" {
		t.Errorf("asked: %+v", k)
	}
	asked := o.asked
	if know("4712"); o.asked != asked {
		t.Error("asked twice for one examination")
	}
	if k := know("4713"); !k.Asked || len(k.Persons) != 0 {
		t.Errorf("nobody's number: %+v", k)
	}
	if _, err := o.Read(t.Context(), fhir.Ref{Type: "Patient", ID: "p1"}); err != nil {
		t.Fatal(err)
	}
	o.down = true
	o.start() // as after a power cut: what was remembered is gone
	for id, want := range map[string]string{"4711": "Patient/p1", "4712": "Patient/p2"} {
		if k := know(id); k.Asked || len(k.Persons) != 1 || k.Persons[0].Ref != want {
			t.Errorf("%s without the EHR: %+v", id, k)
		}
	}
	if k := know("4713"); k.Asked || len(k.Persons) != 0 {
		t.Errorf("unknown without the EHR: %+v", k)
	}
	o.down = false
	if k := know("4713"); !k.Asked {
		t.Error("the EHR is back and was not asked")
	}
}

// The worklist is there, with the visits' times, with the EHR and without it.
func TestSweep(t *testing.T) {
	o := newOffice(t)
	order := `{"resourceType":"ServiceRequest","id":"s1","status":"active","subject":{"reference":"Patient/p1"},"code":{"coding":[{"code":"11524-6"}]}}`
	blood := `{"resourceType":"ServiceRequest","id":"s2","status":"active","subject":{"reference":"Patient/p1"},"code":{"coding":[{"code":"2345-7"}]}}`
	visit := `{"resourceType":"Appointment","id":"v1","start":"2026-11-22T10:15:00Z","basedOn":[{"reference":"ServiceRequest/s1"}],"participant":[{"actor":{"reference":"Patient/p1"}}]}`
	echo := `{"resourceType":"Appointment","id":"v2","start":"2026-11-22T09:00:00Z","serviceType":[{"coding":[{"code":"40701008"}]}],"participant":[{"actor":{"reference":"Patient/p1"}}]}`
	o.answers["listing/worklist/requests"] = set(order, blood, `{"resourceType":"ServiceRequest","id":"s3","subject":7}`)
	o.answers["listing/worklist/visits"] = set(visit, echo)
	o.answers["Patient/p1"] = patientOf("p1", "4711", "Roe")
	check := func(when string) {
		t.Helper()
		if err := o.reg.Sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		got, _ := o.reg.Find(worklist.Query{})
		if len(got) != 2 || got[0].Modality != "US" || got[1].Time != "1015" || got[1].ID != "4711" {
			t.Fatalf("%s: %+v", when, got)
		}
		k := o.reg.Know(t.Context(), identity.Claim{Study: got[1].Study})
		if len(k.Orders) != 1 || k.Orders[0].Person.Ref != "Patient/p1" {
			t.Errorf("%s: the order's patient: %+v", when, k)
		}
	}
	check("with the EHR")
	o.down = true
	o.start()
	check("without it, after a restart")
	delete(o.kept, "listing/worklist/requests")
	if err := o.reg.Sweep(t.Context(), time.Now()); err == nil {
		t.Error("a sweep without any word succeeded")
	}
	if n, _, trouble := o.reg.Status(); n != 2 || !errors.Is(trouble, fhir.ErrUnreachable) {
		t.Errorf("after a sweep in vain: %d orders, %v", n, trouble)
	}
}
