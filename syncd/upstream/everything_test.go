package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"clinicgate/syncd/fhir"
)

var all = fhir.Everything{Patient: p1}

const observation = `{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p1"},"valueQuantity":{"value":1.00}}`

func TestEverything(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/fhir/R4/Patient/p1/$everything" {
			t.Errorf("asked for %s", r.URL)
		}
		fhirJSON(w, 200, `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":`+patient+`},{"resource":`+observation+`}]}`)
	})
	a, changed, err := c.Ask(t.Context(), all, "")
	if err != nil || !changed || !strings.Contains(string(a.Body), observation) {
		t.Fatalf("%s %v", a.Body, err)
	}
}

// An EHR without $everything is asked type by type, and from then on at once so. A
// type it does not know is left out.
func TestEverythingInPieces(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/fhir/R4/")
		mu.Lock()
		asked[path]++
		mu.Unlock()
		switch path {
		case "Patient/p1":
			fhirJSON(w, 200, patient)
		case "Observation":
			fhirJSON(w, 200, `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":`+observation+`}]}`)
		case "Patient/p1/$everything", "Media":
			fhirJSON(w, 404, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}`)
		default:
			fhirJSON(w, 200, `{"resourceType":"Bundle","type":"searchset"}`)
		}
	})
	for range 2 {
		a, _, err := c.Ask(t.Context(), all, "")
		if err != nil || !strings.Contains(string(a.Body), observation) || !strings.Contains(string(a.Body), `"total":2`) {
			t.Fatalf("%s %v", a.Body, err)
		}
	}
	if asked["Patient/p1/$everything"] != 1 || asked["Goal"] != 2 {
		t.Errorf("asked %v", asked)
	}
}

func TestEverythingOfNobody(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		fhirJSON(w, 404, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}`)
	})
	var no *fhir.Refusal
	if _, _, err := c.Ask(t.Context(), all, ""); !errors.As(err, &no) || no.Status != 404 || c.piece {
		t.Errorf("%v, piece %v", err, c.piece)
	}
}

func TestVersions(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fhir/R4/Patient/p1/_history":
			fhirJSON(w, 200, `{"resourceType":"Bundle","type":"history","entry":[{"resource":`+patient+`}]}`)
		default: // whatever version is asked for, it gives the first
			w.Header().Set("ETag", `W/"1"`)
			fhirJSON(w, 200, patient)
		}
	})
	if a, _, err := c.Ask(t.Context(), fhir.Version{Of: p1, Number: "1"}, ""); err != nil || string(a.Body) != patient {
		t.Errorf("%s %v", a.Body, err)
	}
	if _, _, err := c.Ask(t.Context(), fhir.Version{Of: p1, Number: "2"}, ""); !errors.Is(err, fhir.ErrForeign) {
		t.Errorf("another version: %v", err)
	}
	if a, _, err := c.Ask(t.Context(), fhir.History{Of: p1}, ""); err != nil || !strings.Contains(string(a.Body), `"type":"history"`) {
		t.Errorf("%s %v", a.Body, err)
	}
}

// A page that leads to itself, in a search and in all of a patient, ends.
func TestEndlessPagesOfEverything(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		io.WriteString(w, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"`+"http://"+r.Host+r.URL.Path+`?page=2"}],"entry":[{"resource":`+observation+`}]}`)
	})
	if _, _, err := c.Ask(t.Context(), all, ""); !errors.Is(err, fhir.ErrNonsense) && !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}
