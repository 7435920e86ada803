package register

import (
	"context"
	"testing"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/identity"
)

// missing is an EHR that has nobody of that id.
type missing struct{}

func (missing) Read(context.Context, fhir.Query) (cache.Result, error) {
	return cache.Result{}, &fhir.Refusal{Status: 404}
}

func TestReferred(t *testing.T) {
	o := &office{t: t, answers: map[string]string{"Patient/p1": patientOf("p1", "4711", "Roe")}, kept: map[string]fhir.Answer{}}
	o.start()
	know := func(ref string) identity.Knowledge { return o.reg.Know(t.Context(), identity.Claim{Ref: ref}) }
	if k := know("Patient/p1"); !k.Asked || len(k.Persons) != 1 || k.Persons[0].Ref != "Patient/p1" {
		t.Errorf("known: %+v", k)
	}
	o.down = true
	if k := know("Patient/p1"); k.Asked || len(k.Persons) != 1 {
		t.Errorf("EHR away, read before: %+v", k)
	}
	if k := know("Patient/p2"); k.Asked || len(k.Persons) != 0 {
		t.Errorf("EHR away, never read: %+v", k)
	}
	if k := know("Group/p1"); !k.Asked || len(k.Persons) != 0 {
		t.Errorf("no patient at all: %+v", k)
	}
	o.reg.Through(missing{}, missing{})
	if k := know("Patient/p3"); !k.Asked || len(k.Persons) != 0 {
		t.Errorf("nobody, says the EHR: %+v", k)
	}
}
