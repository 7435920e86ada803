package submission

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

const base = "https://ehr/fhir"

// consult is a case as a rural doctor sends it: a request, a question, an image.
const consult = `{"resourceType":"Bundle","type":"transaction","entry":[
 {"fullUrl":"urn:uuid:a","resource":{"resourceType":"ServiceRequest","id":"mine","status":"active","intent":"order","priority":"urgent","subject":{"reference":"Patient/p1"},"quantityQuantity":{"value":1.00}},"request":{"method":"POST","url":"ServiceRequest"}},
 {"fullUrl":"urn:uuid:b","resource":{"resourceType":"Communication","status":"completed","basedOn":[{"reference":"urn:uuid:a"}],"subject":{"reference":"` + base + `/Patient/p1"},"payload":[{"contentString":"urn:uuid:a is the request"},{"contentReference":{"reference":"urn:uuid:c"}}]},"request":{"method":"POST","url":"Communication"}},
 {"fullUrl":"urn:uuid:c","resource":{"resourceType":"Media","status":"completed","content":{"contentType":"image/jpeg","url":"urn:uuid:d"}},"request":{"method":"POST","url":"Media"}},
 {"fullUrl":"urn:uuid:d","resource":{"resourceType":"Binary","contentType":"image/jpeg","data":"/9j/4A=="},"request":{"method":"POST","url":"Binary"}}]}`

func TestCase(t *testing.T) {
	s, err := Parse([]byte(consult), "doctor", base)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Refs) != 4 || s.Single || !s.Urgent || s.Subject.Ref.String() != "Patient/p1" {
		t.Fatalf("%+v", s)
	}
	root, err := tree.Parse(s.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(s.Body)
	for i, e := range root.Get("entry").Items() {
		if e.Get("resource", "id").Text() != s.Refs[i].ID || e.Get("request", "url").Text() != s.Refs[i].String() || e.Get("request", "method").Text() != "PUT" {
			t.Errorf("entry %d: %s", i, e.Raw())
		}
	}
	for _, want := range []string{
		`"basedOn":[{"reference":"` + s.Refs[0].String() + `"}]`, `"contentReference":{"reference":"` + s.Refs[2].String() + `"}`,
		`"url":"` + s.Refs[3].String() + `"`, `"value":1.00`, `"contentString":"urn:uuid:a is the request"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, `"mine"`) {
		t.Error("the sender's id is still there")
	}

	again, _ := Parse([]byte(consult), "doctor", base)
	other, _ := Parse([]byte(consult), "another", base)
	if string(again.Body) != text || string(other.Body) == text {
		t.Error("the same sender and content must give the same ids, another sender others")
	}
}

func TestSingle(t *testing.T) {
	s, err := Parse([]byte(`{"resourceType":"DocumentReference","status":"current","subject":{"identifier":{"system":"urn:mrn","value":"4711"},"display":"Roe^Anna"},"content":[{"attachment":{"contentType":"application/pdf","data":"JVBERg=="}}]}`), "cart", base)
	if err != nil {
		t.Fatal(err)
	}
	want := Subject{System: "urn:mrn", Number: "4711", Name: "Roe^Anna"}
	if !s.Single || s.Urgent || s.Subject != want || len(s.Refs) != 1 || s.Refs[0].Type != "DocumentReference" {
		t.Errorf("%+v", s)
	}
}

// Each change makes the case above one that is refused.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, code, where string }{
		"no JSON":               {consult, `{"resourceType":`, codeStructure, ""},
		"a batch":               {`"type":"transaction"`, `"type":"batch"`, codeNo, "Bundle.type"},
		"a type not taken":      {`"resourceType":"ServiceRequest"`, `"resourceType":"Patient"`, codeNo, "Bundle.entry[0].request"},
		"two patients":          {`"reference":"` + base + `/Patient/p1"`, `"reference":"Patient/p2"`, codeRule, "Bundle.entry[1].resource.subject.reference"},
		"a group":               {`"reference":"Patient/p1"`, `"reference":"Group/g1"`, codeValue, "Bundle.entry[0].resource.subject.reference"},
		"another server's":      {`"reference":"Patient/p1"`, `"reference":"https://other/Patient/p1"`, codeValue, "Bundle.entry[0].resource.subject.reference"},
		"status missing":        {`"status":"active",`, ``, codeRequired, "Bundle.entry[0].resource.status"},
		"status not FHIR's":     {`"status":"active"`, `"status":"on the way"`, codeValue, "Bundle.entry[0].resource.status"},
		"content missing":       {`"content":{"contentType":"image/jpeg","url":"urn:uuid:d"}`, `"note":[]`, codeRequired, "Bundle.entry[2].resource.content"},
		"an attachment of air":  {`{"contentType":"image/jpeg","url":"urn:uuid:d"}`, `{"title":"x"}`, codeRequired, "Bundle.entry[2].resource.content"},
		"no base64":             {`/9j/4A==`, `/9j/4A=`, codeValue, "Bundle.entry[3].resource.data"},
		"a dangling reference":  {`"basedOn":[{"reference":"urn:uuid:a"}]`, `"basedOn":[{"reference":"urn:uuid:z"}]`, codeValue, "Bundle.entry[1].resource"},
		"a change":              {`"method":"POST","url":"ServiceRequest"`, `"method":"PUT","url":"ServiceRequest/1"`, codeNo, "Bundle.entry[0].request"},
		"a condition":           {`"method":"POST","url":"Media"`, `"method":"POST","url":"Media","ifNoneExist":"identifier=x"`, codeNo, "Bundle.entry[2].request.ifNoneExist"},
		"one name for two":      {`"fullUrl":"urn:uuid:b"`, `"fullUrl":"urn:uuid:a"`, codeRule, "Bundle.entry[1].fullUrl"},
		"a name in two writing": {`"status":"active"`, `"status":"active","Status":"draft"`, codeStructure, ""},
	} {
		if !strings.Contains(consult, c.old) {
			t.Fatalf("%s: the case has no %s", name, c.old)
		}
		_, err := Parse([]byte(strings.Replace(consult, c.old, c.new, 1)), "doctor", base)
		var p *Problem
		if !errors.As(err, &p) || p.Code != c.code || p.Where != c.where {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nobody's":        `{"resourceType":"Communication","status":"completed","payload":[{"contentString":"x"}]}`,
		"a Binary alone":  `{"resourceType":"Binary","contentType":"text/plain","data":"aGk="}`,
		"an empty Bundle": `{"resourceType":"Bundle","type":"transaction","entry":[]}`,
		"no resource":     `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"Media"}}]}`,
		"no object":       `[1]`,
	} {
		if _, err := Parse([]byte(text), "doctor", base); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// What is taken is JSON, of one patient, and every resource is under its id.
func FuzzParse(f *testing.F) {
	f.Add([]byte(consult))
	f.Add([]byte(`{"resourceType":"Media","status":"completed","subject":{"identifier":{"value":"1"}},"content":{"url":"http://x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := Parse(body, "seed", base)
		if err != nil {
			return
		}
		if !json.Valid(s.Body) || len(s.Refs) == 0 || s.Subject == (Subject{}) {
			t.Fatalf("%+v", s)
		}
		root, err := tree.Parse(s.Body)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range root.Get("entry").Items() {
			env, err := fhir.Decode(e.Get("resource").Raw(), base)
			if err != nil || env.Ref != s.Refs[i] {
				t.Fatalf("entry %d: %v %v", i, env.Ref, err)
			}
		}
	})
}
