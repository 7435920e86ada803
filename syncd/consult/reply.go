package consult

import (
	"strings"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

// A Question asks the EHR for what may have come back.
type Question struct {
	Type  string // of what is listed
	Param string // by which it refers to the request; "_id": the request itself
}

// Questions are those worth asking about requests of a type.
func Questions(request string) []Question {
	if request == "Task" {
		return []Question{{"Communication", "based-on"}, {"Task", "_id"}}
	}
	return []Question{
		{"Communication", "based-on"}, {"DiagnosticReport", "based-on"}, {"Media", "based-on"}, {"Observation", "based-on"},
		{"DocumentReference", "related"}, {"Task", "focus"}, {"ServiceRequest", "_id"},
	}
}

// Answer is one resource of the EHR's, as far as it matters here.
type Answer struct {
	fhir.Envelope
	About  []fhir.Ref // what it refers to as its request
	Status string
	Final  bool
	Links  []fhir.Ref // what must be read with it
}

// maxLinks bounds what is read with one reply.
const maxLinks = 64

// ReadAnswer reads a resource of the EHR's. base is its URL.
func ReadAnswer(raw []byte, base string) (Answer, error) {
	env, err := fhir.Decode(raw, base)
	if err != nil {
		return Answer{}, err
	}
	root, err := tree.Parse(raw)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Envelope: env, Status: root.Get("status").Text()}
	a.Final = env.Type == "DiagnosticReport" && a.Status == "final"
	root.Walk(func(name string, v *tree.Node) {
		if name != "reference" && name != "url" {
			return
		}
		ref, ok := local(v.Text(), base)
		if ok && linked(ref.Type) && len(a.Links) < maxLinks {
			a.Links = append(a.Links, ref)
		}
	})
	for _, where := range []*tree.Node{root.Get("basedOn"), root.Get("focus"), root.Get("context", "related")} {
		all := where.Items()
		if where.Object() {
			all = []*tree.Node{where}
		}
		for _, v := range all {
			if ref, ok := local(v.Get("reference").Text(), base); ok {
				a.About = append(a.About, ref)
			}
		}
	}
	return a, nil
}

// linked are the types a reply is not whole without.
func linked(typ string) bool {
	switch typ {
	case "Binary", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Media", "Observation":
		return true
	}
	return false
}

func local(reference, base string) (fhir.Ref, bool) {
	if base != "" {
		reference = strings.TrimPrefix(reference, base+"/")
	}
	typ, id, _ := strings.Cut(reference, "/")
	id, _, _ = strings.Cut(id, "/_history/")
	ref, err := fhir.ParseRef(typ, id)
	return ref, err == nil
}

// Overlap is how far before the newest reply the EHR is asked again: transactions
// become visible late.
const Overlap = 10 * time.Minute

// Since is from when on to ask about cases together; zero: everything.
func Since(all []*Case) time.Time {
	var since time.Time
	for i, c := range all {
		if c.Seen.IsZero() {
			return time.Time{}
		}
		if at := c.Seen.Add(-Overlap); i == 0 || at.Before(since) {
			since = at
		}
	}
	return since
}
