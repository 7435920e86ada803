package worklist

import (
	"strings"
	"testing"

	"clinicgate/syncd/fhir"
)

const patientJSON = `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:ins","value":"K1"},{"system":"urn:mrn","value":"4711","type":{"coding":[{"code":"MR"}]}}],
"name":[{"use":"maiden","family":"Old","given":["Anna"]},{"use":"official","family":"Mü^ller","given":["Anna","Maria"]}],"birthDate":"1970-02-03","gender":"female"}`

const orderJSON = `{"resourceType":"ServiceRequest","id":"a-very-long-identifier-of-an-order","status":"active","subject":{"reference":"Patient/p1"},
"code":{"coding":[{"system":"http://loinc.org","code":"11524-6","display":"EKG study"}]},"occurrenceDateTime":"2026-11-22T09:30:00+05:30","requester":{"display":"Dr. Who"}}`

func entry(t *testing.T, order string) (Entry, bool) {
	t.Helper()
	o, err := fhir.DecodeOrder([]byte(order), "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := fhir.DecodePatient([]byte(patientJSON))
	if err != nil {
		t.Fatal(err)
	}
	return Policy{}.New(o, p)
}

func TestEntry(t *testing.T) {
	e, ok := entry(t, orderJSON)
	if !ok || e.Name != "Mü ller^Anna^Maria" || e.ID != "4711" || e.Birth != "19700203" || e.Sex != "F" || e.Modality != "ECG" ||
		e.Date != "20261122" || e.Time != "0930" || e.Description != "EKG study" || e.Referring != "Dr. Who" {
		t.Errorf("%v %+v", ok, e)
	}
	again, _ := entry(t, orderJSON)
	if !strings.HasPrefix(e.Study, "2.25.") || len(e.Study) > 64 || e.Study != again.Study || len(e.Accession) > 16 || e.Accession == "" {
		t.Errorf("study %q and %q, accession %q", e.Study, again.Study, e.Accession)
	}
	own := strings.Replace(orderJSON, `"status"`, `"identifier":[{"type":{"coding":[{"code":"ACSN"}]},"value":"ACC7"},{"system":"urn:dicom:uid","value":"urn:oid:1.2.3"}],"status"`, 1)
	if e, _ = entry(t, own); e.Accession != "ACC7" || e.Study != "1.2.3" {
		t.Errorf("own numbers: %+v", e)
	}
	if _, ok := entry(t, strings.Replace(orderJSON, "11524-6", "2345-7", 1)); ok {
		t.Error("a blood test is on the worklist")
	}
	visit := `{"resourceType":"Appointment","id":"v1","status":"booked","start":"2026-11-22T10:00:00Z","serviceType":[{"coding":[{"system":"` + dicomCodes + `","code":"US"}]}],
"participant":[{"actor":{"reference":"Practitioner/d"}},{"actor":{"reference":"Patient/p1"}}]}`
	if e, ok = entry(t, visit); !ok || e.Modality != "US" || e.Time != "1000" {
		t.Errorf("appointment: %v %+v", ok, e)
	}
}

func TestFind(t *testing.T) {
	e := Entry{Name: "Müller^Anna^Maria", ID: "4711", Study: "1.2.3", Accession: "A1", Requested: "R1", Step: "S1", Modality: "ECG", Date: "20261122", Time: "0930"}
	for _, c := range []struct {
		q    Query
		want bool
	}{
		{Query{}, true},
		{Query{Modality: "ECG", Date: "20261122"}, true},
		{Query{Modality: "US"}, false},
		{Query{Name: "MÜLLER*"}, true},
		{Query{Name: "müller^anna*"}, true},
		{Query{Name: "MÜLLER"}, false},
		{Query{Name: "M?LLER^*"}, true},
		{Query{ID: "4711"}, true}, {Query{ID: "471"}, false}, {Query{ID: "47*"}, true},
		{Query{Study: `1.2\1.2.3`}, true}, {Query{Study: "1.2"}, false},
		{Query{Date: "20261121-20261123"}, true}, {Query{Date: "20261123-"}, false}, {Query{Date: "-20261122"}, true}, {Query{Date: "20261121"}, false},
		{Query{Time: "090000-100000"}, true}, {Query{Time: "100000-"}, false}, {Query{Time: "09"}, true},
		{Query{Station: "ECGCART"}, true},
		{Query{Accession: "A1", Requested: "R1", Step: "S1"}, true}, {Query{Step: "S2"}, false},
	} {
		if got, _ := Find([]Entry{e}, c.q); (len(got) == 1) != c.want {
			t.Errorf("%+v: got %v, want %v", c.q, len(got) == 1, c.want)
		}
	}
	undated := e
	undated.Date = ""
	if got, _ := Find([]Entry{undated}, Query{Date: "20261122"}); len(got) != 1 {
		t.Error("an order without a day was not found")
	}
	if got, more := Find(make([]Entry, Most+1), Query{}); len(got) != Most || !more {
		t.Errorf("%d entries, more %v", len(got), more)
	}
}
