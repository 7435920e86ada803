package fhir

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const base = "http://ehr/fhir/R4"

func TestDecode(t *testing.T) {
	e, err := Decode([]byte(`{"resourceType":"Observation","id":"o1","meta":{"versionId":"3","lastUpdated":"2026-11-22T08:00:00.123Z"},
		"valueQuantity":{"value":1.00},"subject":{"reference":"Patient/p1"}}`), base)
	if err != nil || e.String() != "Observation/o1" || e.Version != "3" || e.Patient != (Ref{"Patient", "p1"}) || e.Updated.IsZero() {
		t.Fatalf("got %+v, %v", e, err)
	}
	for body, want := range map[string]Ref{
		`{"resourceType":"Patient","id":"p"}`:                                                             {"Patient", "p"},
		`{"resourceType":"Immunization","patient":{"reference":"http://ehr/fhir/R4/Patient/p"}}`:          {"Patient", "p"},
		`{"resourceType":"Observation","subject":{"reference":"Patient/p/_history/2"}}`:                   {"Patient", "p"},
		`{"resourceType":"Observation","subject":{"reference":"http://other/fhir/R4/Patient/p"}}`:         {},
		`{"resourceType":"Observation","subject":{"reference":"urn:uuid:x"}}`:                             {},
		`{"resourceType":"Observation","subject":{"reference":"Group/g"}}`:                                {},
		`{"resourceType":"Observation","subject":{"display":"x"}}`:                                        {},
		`{"resourceType":"Organization"}`:                                                                 {},
		`{"resourceType":"Account","subject":[{"reference":"Patient/p"}]}`:                                {},
		`{"resourceType":"X12","id":"` + "1" + `"}`:                                                       {"", "bad"},
		`{"resourceType":"Claim","subject":{"reference":"Patient/p"},"patient":{"reference":"Device/p"}}`: {"Patient", "p"},
	} {
		e, err := Decode([]byte(body), base)
		if want.ID == "bad" {
			if !errors.Is(err, ErrBody) {
				t.Errorf("%s: got %v", body, err)
			}
		} else if err != nil || e.Patient != want {
			t.Errorf("%s: got %v, %v; want %v", body, e.Patient, err, want)
		}
	}
}

// A body that two readers could read differently is no body.
func TestDecodeRefusals(t *testing.T) {
	for name, body := range map[string]string{
		"empty":            ``,
		"html":             `<html>portal login</html>`,
		"list":             `[]`,
		"null":             `null`,
		"truncated":        `{"resourceType":"Patient","id":"p"`,
		"truncated string": `{"resourceType":"Patient","id":"p`,
		"two":              `{"resourceType":"Patient"}{"resourceType":"Patient"}`,
		"no type":          `{"id":"p"}`,
		"type a number":    `{"resourceType":1}`,
		"id a number":      `{"resourceType":"Patient","id":1}`,
		"id with path":     `{"resourceType":"Patient","id":"../x"}`,
		"id twice":         `{"resourceType":"Patient","id":"p","id":"q"}`,
		"id in capitals":   `{"resourceType":"Patient","id":"p","ID":"q"}`,
		"capitals only":    `{"resourceType":"Patient","Id":"q"}`,
		"subject twice":    `{"resourceType":"Observation","subject":{"reference":"Patient/p"},"subject":{"reference":"Patient/q"}}`,
		"two references":   `{"resourceType":"Observation","subject":{"reference":"Patient/p","Reference":"Patient/q"}}`,
		"two patients":     `{"resourceType":"Claim","subject":{"reference":"Patient/p"},"patient":{"reference":"Patient/q"}}`,
		"meta a string":    `{"resourceType":"Patient","meta":"x"}`,
		"bad version":      `{"resourceType":"Patient","meta":{"versionId":"\n"}}`,
		"bad time":         `{"resourceType":"Patient","meta":{"lastUpdated":"yesterday"}}`,
		"deep":             strings.Repeat(`{"a":`, 20000),
	} {
		_, err := Decode([]byte(body), base)
		if !errors.Is(err, ErrBody) {
			t.Errorf("%s: got %v, want ErrBody", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "portal") {
			t.Errorf("%s: the error quotes the body: %v", name, err)
		}
	}
}

func obs(id, patient string) string {
	return fmt.Sprintf(`{"resource":{"resourceType":"Observation","id":%q,"subject":{"reference":%q},"valueQuantity":{"value":1.00}}}`, id, patient)
}

func page(entries ...string) []byte {
	return []byte(`{"resourceType":"Bundle","type":"searchset","total":2,"entry":[` + strings.Join(entries, ",") + `]}`)
}

func TestDecodePage(t *testing.T) {
	s, err := ParseSearch("Observation", "patient=p")
	if err != nil {
		t.Fatal(err)
	}
	remark := `{"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}`
	p, err := s.Page(page(obs("1", "Patient/p"), remark, obs("2", base+"/Patient/p")), base)
	if err != nil || len(p.Entries) != 2 || !strings.Contains(string(p.Entries[0]), `"value":1.00`) || p.Matches != 2 {
		t.Fatalf("got %d entries, %v", len(p.Entries), err)
	}
	p, err = s.Page([]byte(`{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"a"},{"relation":"next","url":"b"}]}`), base)
	if err != nil || p.Next != "b" || len(p.Entries) != 0 {
		t.Fatalf("got %+v, %v", p, err)
	}
	for name, c := range map[string]struct {
		body []byte
		want error
	}{
		"other patient":   {page(obs("1", "Patient/p"), obs("2", "Patient/q")), ErrForeign},
		"no patient":      {page(`{"resource":{"resourceType":"Observation","id":"1"}}`), ErrForeign},
		"other server":    {page(obs("1", "http://other/Patient/p")), ErrForeign},
		"other type":      {page(`{"resource":{"resourceType":"Patient","id":"p"}}`), ErrForeign},
		"no id":           {page(`{"resource":{"resourceType":"Observation","subject":{"reference":"Patient/p"}}}`), ErrBody},
		"no resource":     {page(`{"fullUrl":"x"}`), ErrBody},
		"history":         {[]byte(`{"resourceType":"Bundle","type":"history"}`), ErrBody},
		"not a bundle":    {[]byte(`{"resourceType":"Observation"}`), ErrBody},
		"entry an object": {[]byte(`{"resourceType":"Bundle","type":"searchset","entry":{}}`), ErrBody},
		"link a number":   {[]byte(`{"resourceType":"Bundle","type":"searchset","link":1}`), ErrBody},
	} {
		if _, err := s.Page(c.body, base); !errors.Is(err, c.want) || !errors.Is(err, ErrBody) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestShow(t *testing.T) {
	var entries []json.RawMessage
	for i := range 5 {
		entries = append(entries, NewEntry(fmt.Appendf(nil, `{"resourceType":"Observation","id":"%d","performer":[{"reference":"Practitioner/%d"}],"valueQuantity":{"value":1.00}}`, i, i%2), false))
	}
	for i := range 2 {
		entries = append(entries, NewEntry(fmt.Appendf(nil, `{"resourceType":"Practitioner","id":"%d"}`, i), true))
	}
	joined := Join(entries)
	show := func(query string, extra json.RawMessage) (ids string, total int, next string) {
		t.Helper()
		s, err := ParseSearch("Observation", "patient=p&"+query)
		if err != nil {
			t.Fatal(err)
		}
		body, err := Show(joined, View{
			Kind: KindSearch, Self: "https://gw/fhir/R4/" + s.Key(), Base: "https://gw/fhir/R4", Window: s.Window, Extra: extra,
			Tags: []Tag{{System: "urn:x", Code: "fresh"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var b struct {
			Total int
			Meta  struct{ Tag []Tag }
			Link  []struct{ Relation, URL string }
			Entry []struct {
				FullURL  string
				Resource struct{ ID, ResourceType string }
				Search   struct{ Mode string }
			}
		}
		if err := json.Unmarshal(body, &b); err != nil || len(b.Meta.Tag) != 1 {
			t.Fatalf("%v in %s", err, body)
		}
		for _, e := range b.Entry {
			switch e.Search.Mode {
			case "include":
				ids += "+"
			case "outcome":
				ids += "!"
				continue
			}
			ids += e.Resource.ID
			if e.FullURL != "https://gw/fhir/R4/"+e.Resource.ResourceType+"/"+e.Resource.ID {
				t.Errorf("fullUrl %q", e.FullURL)
			}
		}
		for _, l := range b.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
		return ids, b.Total, next
	}
	for _, c := range []struct{ query, ids, next string }{
		{"", "01234+0+1", ""},
		{"_count=2", "01+0+1", "_offset=2"},
		{"_count=2&_offset=2", "23+0+1", "_offset=4"},
		{"_count=2&_offset=4", "4+0", ""},
		{"_count=5", "01234+0+1", ""},
		{"_offset=9", "", ""},
	} {
		ids, total, next := show(c.query, nil)
		if ids != c.ids || total != 5 || !strings.HasSuffix(next, c.next) || (c.next == "") != (next == "") {
			t.Errorf("%s: got %q of %d, next %q", c.query, ids, total, next)
		}
	}
	// The next link is a search of ours.
	_, _, next := show("_count=2", nil)
	query := strings.TrimPrefix(next, "https://gw/fhir/R4/Observation?")
	if s, err := ParseSearch("Observation", query); err != nil || s.Offset != 2 || s.Count != 2 {
		t.Errorf("next %q: %+v, %v", next, s, err)
	}
	if ids, _, _ := show("_count=1", Remark(CodeInformation, "old")); ids != "0+0!" {
		t.Errorf("with a remark: %q", ids)
	}
	if !strings.Contains(string(joined), `"value":1.00`) {
		t.Error("1.00 did not stay 1.00")
	}
	if empty := Join(nil); strings.Contains(string(empty), "entry") {
		t.Errorf("an empty list is not allowed in FHIR's JSON: %s", empty)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Observation","id":"o1","meta":{"versionId":"3"},"subject":{"reference":"Patient/p1"}}`))
	f.Add([]byte(`{"resourceType":"Patient","id":"p","ID":"q"}`))
	f.Add([]byte(`{"resourceType":"Claim","subject":[],"patient":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := Decode(body, base)
		if err != nil {
			return
		}
		// The envelope agrees with a lenient reader of the same bytes.
		var lenient struct{ ResourceType, ID string }
		if json.Unmarshal(body, &lenient) != nil || lenient.ResourceType != e.Type || lenient.ID != e.ID {
			t.Fatalf("envelope %+v, another reader %+v", e, lenient)
		}
	})
}

func FuzzDecodePage(f *testing.F) {
	f.Add(page(obs("1", "Patient/p"), obs("2", "Patient/p")))
	f.Add(page(obs("1", "Patient/q")))
	f.Add([]byte(`{"resourceType":"Bundle","type":"searchset","entry":null,"link":[{"relation":"next","url":"x"}]}`))
	s, err := ParseSearch("Observation", "patient=p")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := s.Page(body, base)
		if err != nil {
			return
		}
		again, err := s.Page(Join(p.Entries), base)
		if err != nil || len(again.Entries) != len(p.Entries) {
			t.Fatalf("joined page: %d of %d entries, %v", len(again.Entries), len(p.Entries), err)
		}
	})
}

func FuzzParseSearch(f *testing.F) {
	f.Add("Observation", "patient=p&code=http://loinc.org|8867-4&_count=5")
	f.Add("Immunization", "subject=Patient/1")
	f.Fuzz(func(t *testing.T, typ, query string) {
		s, err := ParseSearch(typ, query)
		if err != nil {
			return
		}
		again, err := ParseSearch(s.Type, s.Query)
		if err != nil || again.Key() != s.Key() {
			t.Fatalf("%q is not canonical: %q, %v", s.Key(), again.Key(), err)
		}
	})
}
