package fhir

import (
	"encoding/json"
	"errors"
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
		"include":           {"Observation", "patient=1&_include=Observation:subject", ErrParam},
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
	if err := json.Unmarshal(Capability("https://gateway.internal:8443/fhir/R4", "1", time.Now()), &c); err != nil {
		t.Fatal(err)
	}
	if c.ResourceType != "CapabilityStatement" || c.FHIRVersion != "4.0.1" || len(c.Rest[0].Resource) != len(types) {
		t.Fatalf("got %+v", c)
	}
	// What is promised is what ParseSearch takes.
	for _, r := range c.Rest[0].Resource {
		if r.Type == "AuditEvent" { // from the trail, not from the EHR
			continue
		}
		search := slices.Contains(r.Interaction, capCode{"search-type"})
		query := "patient=1"
		for _, p := range r.SearchParam {
			if p.Name != "patient" {
				query += "&" + p.Name + "=x"
			}
		}
		if _, err := ParseSearch(r.Type, query); (err == nil) != search {
			t.Errorf("%s: search promised %v, answer %v", r.Type, search, err)
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
