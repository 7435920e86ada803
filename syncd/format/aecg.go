package format

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"

	"golang.org/x/net/html/charset"
)

// HL7 v3 Annotated ECG (PORT_MT020001): XML whose root is AnnotatedECG.
const (
	hl7v3     = "urn:hl7-org:v3"
	maxNested = 128 // elements inside each other; real files have about 20
)

func looksLikeXML(b []byte) bool {
	b = bytes.TrimPrefix(b[:min(len(b), 1024)], []byte("\xef\xbb\xbf"))
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("<"))
}

// aecg reads the whole document, so that one cut short or with an error at its
// end is seen, and keeps the few attributes wanted. A document type is refused:
// it is where entities and so every XML bomb begins, and no aECG has one.
func aecg(b []byte) (Facts, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = charset.NewReaderLabel
	r := aecgReader{Facts: Facts{Kind: AECG, ContentType: "application/xml"}}
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = r.token(t)
		}
		if err != nil {
			if syntax, ok := err.(*xml.SyntaxError); ok {
				return Facts{}, malformed(AECG, "line %d: %s", syntax.Line, reason(syntax.Msg))
			}
			return Facts{}, err
		}
	}
	if len(r.path) > 0 || !r.root {
		return Facts{}, malformed(AECG, "ends inside %d elements", len(r.path))
	}
	return r.Facts, nil
}

// reason cuts what the XML reader quotes from the file: it may be a name.
func reason(msg string) string {
	msg, _, _ = strings.Cut(msg, ":")
	words, _, _ := strings.Cut(msg, "<")
	return strings.TrimSpace(words)
}

type aecgReader struct {
	Facts
	path []string // names of the open elements, prefixes cut off
	root bool     // the root element has begun
	text string   // character data of the element just open
}

func (r *aecgReader) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return malformed(AECG, "a document type or other declaration; none is taken")
	case xml.StartElement:
		return r.start(t)
	case xml.CharData:
		if len(r.path) > 0 && r.in("subjectDemographicPerson") && len(r.text) < 256 {
			r.text += string(t[:min(len(t), 256)])
		}
	case xml.EndElement:
		if len(r.path) == 0 || r.path[len(r.path)-1] != t.Name.Local {
			return malformed(AECG, "elements end in another order than they begin")
		}
		r.end(t.Name.Local)
		r.path = r.path[:len(r.path)-1]
	}
	return nil
}

func (r *aecgReader) start(t xml.StartElement) error {
	switch {
	case len(r.path) == 0 && r.root:
		return malformed(AECG, "a second root element")
	case len(r.path) == 0 && (t.Name.Local != "AnnotatedECG" || !r.declares(t)):
		return ErrUnknown
	case len(r.path) >= maxNested:
		return malformed(AECG, "more than %d elements inside each other", maxNested)
	}
	r.root = true
	switch {
	case len(r.path) == 1 && t.Name.Local == "id":
		r.Document = strings.Trim(attr(t, "root")+"^"+attr(t, "extension"), "^")
	case t.Name.Local == "id" && r.path[len(r.path)-1] == "trialSubject" && r.Patient.ID == "":
		r.Patient.ID = attr(t, "extension")
	case t.Name.Local == "birthTime" && r.in("subjectDemographicPerson"):
		r.Patient.Birth = attr(t, "value")[:min(8, len(attr(t, "value")))]
	case t.Name.Local == "administrativeGenderCode" && r.in("subjectDemographicPerson"):
		r.Patient.Sex = attr(t, "code")
	}
	if !r.in("name") {
		r.text = ""
	}
	r.path = append(r.path, t.Name.Local)
	return nil
}

func (r *aecgReader) end(name string) {
	if name == "name" && r.in("subjectDemographicPerson") {
		r.Patient.Name = strings.Join(strings.Fields(r.text), " ")
	}
}

// in tells whether an element of that name is open.
func (r *aecgReader) in(name string) bool {
	for _, p := range r.path {
		if p == name {
			return true
		}
	}
	return false
}

// declares tells whether the root is in HL7's namespace, by whichever prefix.
func (r *aecgReader) declares(t xml.StartElement) bool {
	for _, a := range t.Attr {
		if a.Value == hl7v3 && (a.Name.Space == "xmlns" && a.Name.Local == t.Name.Space || a.Name.Space == "" && a.Name.Local == "xmlns" && t.Name.Space == "") {
			return true
		}
	}
	return false
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}
