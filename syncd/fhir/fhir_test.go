package fhir

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTypesAreSorted(t *testing.T) {
	for name, list := range map[string][]string{"types": types[:], "clinical": clinical[:], "patientOnly": patientOnly[:]} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("%s: not sorted, or one is there twice", name)
		}
		for _, typ := range list {
			if !IsType(typ) {
				t.Errorf("%s: %q is no type", name, typ)
			}
		}
	}
	if len(types) != 146 {
		t.Errorf("%d types, want the 146 of R4 that are not abstract", len(types))
	}
}

func TestParseRef(t *testing.T) {
	for _, c := range []struct {
		typ, id string
		want    error
	}{
		{"Patient", "a-1.B", nil},
		{"Patient", strings.Repeat("x", 64), nil},
		{"Patient", strings.Repeat("x", 65), ErrID},
		{"Patient", "", ErrID},
		{"Patient", "..", ErrID},
		{"Patient", "a/b", ErrID},
		{"Patient", "a\x00", ErrID},
		{"Patient", "ä", ErrID},
		{"patient", "1", ErrType},
		{"Pat", "1", ErrType},
		{"", "1", ErrType},
	} {
		if _, err := ParseRef(c.typ, c.id); !errors.Is(err, c.want) {
			t.Errorf("%q %q: got %v, want %v", c.typ, c.id, err, c.want)
		}
	}
}

func TestParseSearch(t *testing.T) {
	for _, c := range []struct{ typ, query, want string }{
		{"Observation", "patient=1", "Observation?patient=Patient/1"},
		{"Observation", "subject=Patient/1", "Observation?patient=Patient/1"},
		{"Observation", "patient=Patient%2F1&_format=json", "Observation?patient=Patient/1"},
		{"Observation", "patient=1&patient=Patient/1", "Observation?patient=Patient/1"},
		{"Observation", "status=final&patient=1&code=http://loinc.org|8867-4", "Observation?patient=Patient/1&code=http%3A%2F%2Floinc.org%7C8867-4&status=final"},
		{"Observation", "date=ge2026&patient=1&date=lt2027&_count=5&_offset=10", "Observation?patient=Patient/1&date=ge2026&date=lt2027"},
		{"Immunization", "patient=1", "Immunization?patient=Patient/1"},
		{"Observation", "_include=Observation:performer&patient=1&_sort=-date", "Observation?patient=Patient/1&_include=Observation%3Aperformer&_sort=-date"},
		{"Patient", "name=Eve&birthdate=1980", "Patient?birthdate=1980&name=Eve"},
		{"Patient", "_id=7", "Patient?_id=7"},
	} {
		s, err := ParseSearch(c.typ, c.query)
		if err != nil || s.Key() != c.want {
			t.Errorf("%s?%s: got %q, %v; want %q", c.typ, c.query, s.Key(), err, c.want)
		}
	}
	s, _ := ParseSearch("Observation", "patient=1&_count=5000&_offset=10")
	if s.Count != maxCount || s.Offset != 10 {
		t.Errorf("page %d from %d", s.Count, s.Offset)
	}
}

func TestSearchRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		typ, query string
		want       error
	}{
		"no patient":        {"Observation", "code=1", ErrParam},
		"two patients":      {"Observation", "patient=1&patient=2", ErrParam},
		"patient list":      {"Observation", "patient=1,2", ErrID},
		"subject and other": {"Observation", "patient=1&subject=Patient/2", ErrParam},
		"device":            {"Observation", "subject=Device/2", ErrID},
		"chained":           {"Observation", "patient.name=x", ErrParam},
		"modifier":          {"Observation", "patient:missing=true", ErrParam},
		"include all":       {"Observation", "patient=1&_include=*", ErrParam},
		"include elsewhere": {"Observation", "patient=1&_include=Encounter:location", ErrParam},
		"include a code":    {"Observation", "patient=1&_include=Observation:code", ErrParam},
		"iterate":           {"Observation", "patient=1&_include:iterate=Observation:subject", ErrParam},
		"reverse":           {"Observation", "patient=1&_revinclude=Provenance:target", ErrParam},
		"date prefix":       {"Observation", "patient=1&date=xx2026", ErrParam},
		"date":              {"Observation", "patient=1&date=yesterday", ErrParam},
		"sort":              {"Observation", "patient=1&_sort=x", ErrParam},
		"sort twice":        {"Observation", "patient=1&_sort=date&_sort=code", ErrParam},
		"empty value":       {"Observation", "patient=1&code=a,,b", ErrParam},
		"not of this type":  {"Observation", "patient=1&onset-date=2026", ErrParam},
		"all patients":      {"Patient", "gender=male", ErrParam},
		"token modifier":    {"Patient", "identifier:of-type=x", ErrParam},
		"elements":          {"Observation", "patient=1&_elements=id", ErrParam},
		"unknown":           {"Observation", "patient=1&x=1", ErrParam},
		"empty":             {"Observation", "patient=1&code=", ErrParam},
		"count 0":           {"Observation", "patient=1&_count=0", ErrParam},
		"count text":        {"Observation", "patient=1&_count=x", ErrParam},
		"offset":            {"Observation", "patient=1&_offset=-1", ErrParam},
		"not clinical":      {"Patient", "patient=1", ErrParam},
		"no type":           {"Nothing", "patient=1", ErrType},
		"no subject":        {"Immunization", "subject=Patient/1", ErrParam},
		"escape":            {"Observation", "patient=%zz", ErrParam},
		"long":              {"Observation", "patient=1&code=" + strings.Repeat("x", maxQuery), ErrParam},
		"many":              {"Observation", "patient=1" + strings.Repeat("&code=1", maxParams+1), ErrParam},
	} {
		if _, err := ParseSearch(c.typ, c.query); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestAcceptable(t *testing.T) {
	for _, c := range []struct {
		format, accept string
		want           error
	}{
		{"", "", nil},
		{"", "*/*", nil},
		{"", "application/fhir+json", nil},
		{"", "application/fhir+json; fhirVersion=4.0", nil},
		{"", "text/html, application/xhtml+xml, */*;q=0.8", nil},
		{"json", "application/fhir+xml", nil},
		{"application/fhir json", "", nil},
		{"", "application/fhir+json; fhirVersion=5.0", ErrFormat},
		{"", "application/fhir+xml", ErrFormat},
		{"", "application/json;q=0", ErrFormat},
		{"xml", "application/json", ErrFormat},
		{"", ";;;", ErrFormat},
	} {
		if err := Acceptable(c.format, c.accept); !errors.Is(err, c.want) {
			t.Errorf("%q %q: got %v, want %v", c.format, c.accept, err, c.want)
		}
	}
}

func TestCapability(t *testing.T) {
	var c struct {
		ResourceType, FHIRVersion string
		Rest                      []struct{ Resource []capResource }
	}
	if err := json.Unmarshal(Capability("https://gateway.internal:8443/fhir/R4", "1", time.Now(), true), &c); err != nil {
		t.Fatal(err)
	}
	if c.ResourceType != "CapabilityStatement" || c.FHIRVersion != "4.0.1" || len(c.Rest[0].Resource) != len(types) {
		t.Fatalf("got %+v", c)
	}
	both := string(Capability("x", "1", time.Now(), false, "Media"))
	if n := strings.Count(both, `"create"`); n != 1 || !strings.Contains(both, "New resources of Media") {
		t.Errorf("%d types may be created, want one", n)
	}
	// What is promised is what ParseSearch takes.
	for _, r := range c.Rest[0].Resource {
		if r.Type == "AuditEvent" { // from the trail, not from the EHR
			continue
		}
		search := slices.Contains(r.Interaction, capCode{"search-type"})
		query := "patient=1"
		if r.Type == "Patient" {
			query = "_id=1"
		}
		for _, p := range r.SearchParam {
			switch {
			case p.Name == "patient":
			case p.Type == KindDate:
				query += "&" + p.Name + "=ge2026"
			default:
				query += "&" + p.Name + "=x"
			}
		}
		for _, in := range r.SearchInclude[:min(len(r.SearchInclude), maxIncludes)] {
			query += "&_include=" + in
		}
		if _, err := ParseSearch(r.Type, query); (err == nil) != search {
			t.Errorf("%s: search promised %v, answer %v", r.Type, search, err)
		}
	}
}

func TestLenient(t *testing.T) {
	s, err := ParseLenient("Observation", "patient=1&x=1&_elements=id&code=a")
	if err != nil || s.Key() != "Observation?patient=Patient/1&code=a" || strings.Join(s.Ignored, " ") != "_elements x" {
		t.Errorf("got %q, left out %q, %v", s.Key(), s.Ignored, err)
	}
	if _, err := ParseLenient("Observation", "patient=1&date=never"); err == nil {
		t.Error("a known parameter with a wrong value was taken")
	}
}

func TestBatch(t *testing.T) {
	for body, want := range map[string]string{
		`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"/Patient/1","ifNoneMatch":"W/\"1\""}}]}`: "[{GET Patient/1 W/\"1\"     []}] false",
		`{"resourceType":"Bundle","type":"transaction"}`:                                          "[] true",
		`{"resourceType":"Bundle","type":"collection"}`:                                           "",
		`{"resourceType":"Bundle","type":"batch","entry":[{"resource":{}}]}`:                      "",
		`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET"}}]}`:         "",
		`{"resourceType":"Bundle","type":"batch","entry":[` + strings.Repeat(`{},`, 101) + `{}]}`: "",
	} {
		all, whole, err := ParseBatch([]byte(body))
		if got := fmt.Sprint(all, whole); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%.80s: got %s, %v; want %s", body, got, err, want)
		}
	}
	got := string(JoinResponses(false, []Response{{Status: 200, ETag: `W/"1"`, Modified: "2026-11-22T08:00:00Z", Body: []byte(`{}`)}, {Status: 404, Body: []byte(`{"x":1}`)}, {Status: 304}}))
	want := `{"resourceType":"Bundle","type":"batch-response","entry":[{"resource":{},"response":{"status":"200","etag":"W/\"1\"","lastModified":"2026-11-22T08:00:00Z"}},` +
		`{"response":{"status":"404","outcome":{"x":1}}},{"response":{"status":"304"}}]}`
	if got != want {
		t.Errorf("got %s", got)
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/1"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, _, err := ParseBatch(body)
		for _, r := range all {
			if err != nil || r.Method == "" || r.URL == "" {
				t.Fatalf("%+v, %v", r, err)
			}
		}
	})
}

func TestVersions(t *testing.T) {
	o := Ref{"Observation", "o"}
	if v, err := ParseVersion(o, "3"); err != nil || v.Key() != "Observation/o/_history/3" {
		t.Errorf("%v %v", v, err)
	}
	if _, err := ParseVersion(o, "a/b"); !errors.Is(err, ErrID) {
		t.Error(err)
	}
	h, err := ParseHistory(o, "_count=2&_offset=4")
	if err != nil || h.Count != 2 || h.Offset != 4 || h.Key() != "Observation/o/_history" {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := ParseHistory(o, "_at=2026"); !errors.Is(err, ErrParam) {
		t.Error(err)
	}
	bundle := func(entries string) []byte {
		return []byte(`{"resourceType":"Bundle","type":"history","entry":[` + entries + `]}`)
	}
	deleted := `{"request":{"method":"DELETE","url":"Observation/o"}}`
	p, err := h.Page(bundle(`{"resource":{"resourceType":"Observation","id":"o"}},`+deleted), "")
	if err != nil || len(p.Entries) != 2 || string(p.Entries[1]) != deleted {
		t.Errorf("%s %v", p.Entries, err)
	}
	for _, entry := range []string{`{"resource":{"resourceType":"Observation","id":"x"}}`, `{"request":{"method":"DELETE","url":"Observation/x"}}`, `{"request":{"method":"PUT","url":"Observation/o"}}`} {
		if _, err := h.Page(bundle(entry), ""); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", entry, err)
		}
	}
}

func TestEverything(t *testing.T) {
	p := Ref{"Patient", "p"}
	e, err := ParseEverything(p, "_type=Observation,Condition&_since=2026-11-22T08:00:00Z&_count=3")
	if err != nil || e.Key() != "Patient/p/$everything?_since=2026-11-22T08%3A00%3A00Z&_type=Condition,Observation" || e.Count != 3 || e.Wants("Goal") {
		t.Errorf("%+v %q %v", e, e.Key(), err)
	}
	for _, query := range []string{"_type=Practitioner", "_since=yesterday", "start=2026", "%zz"} {
		if _, err := ParseEverything(p, query); !errors.Is(err, ErrParam) {
			t.Errorf("%s: %v", query, err)
		}
	}
	all := Everything{Patient: p}
	if all.Key() != "Patient/p/$everything" {
		t.Error(all.Key())
	}
	for entry, want := range map[string]error{
		`{"resource":{"resourceType":"Patient","id":"p"}}`:                                                                                             nil,
		`{"resource":{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/p"}}}`:                                                     nil,
		`{"resource":{"resourceType":"Practitioner","id":"1"}}`:                                                                                        nil,
		`{"resource":{"resourceType":"Patient","id":"q"}}`:                                                                                             ErrForeign,
		`{"resource":{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/q"}}}`:                                                     ErrForeign,
		`{"resource":{"resourceType":"Observation","id":"1"}}`:                                                                                         ErrForeign,
		`{"resource":{"resourceType":"Coverage","id":"1","beneficiary":{"reference":"Patient/q"}}}`:                                                    ErrForeign,
		`{"resource":{"resourceType":"Task","id":"1","for":{"reference":"Patient/q"}}}`:                                                                ErrForeign,
		`{"resource":{"resourceType":"Appointment","id":"1","participant":[{"actor":{"reference":"Patient/p"}},{"actor":{"reference":"Patient/q"}}]}}`: ErrBody,
	} {
		if _, err := all.Page(page(entry), ""); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", entry, err, want)
		}
	}
}

func TestOutcome(t *testing.T) {
	want := `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login","details":{"text":"a \"b\""}}]}`
	if got := string(Failure(CodeLogin, `a "b"`)); got != want {
		t.Errorf("got %s", got)
	}
	if !json.Valid(Remark(CodeInformation, "x")) {
		t.Error("remark is not JSON")
	}
}
