package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"clinicgate/syncd/fhir"
)

// What an EHR may answer to a change, and what it means: made, not made, or nobody knows.
func TestWrite(t *testing.T) {
	const obs, oo = `{"resourceType":"Observation","id":"7","meta":{"versionId":"2"}}`, `{"resourceType":"OperationOutcome","issue":[]}`
	made, no, unknown := 1, 2, 3
	for name, c := range map[string]struct {
		status       int
		body         string
		header       [2]string
		want         int
		ref, version string
	}{
		"made, with it":           {201, obs, [2]string{}, made, "7", "2"},
		"made, said by headers":   {201, "", [2]string{"Location", "http://x/R4/Observation/9/_history/4"}, made, "9", ""},
		"made, nothing said":      {201, "", [2]string{}, unknown, "", ""},
		"made of another type":    {201, `{"resourceType":"Patient","id":"7"}`, [2]string{}, unknown, "", ""},
		"refused":                 {422, oo, [2]string{}, no, "", ""},
		"another version":         {412, "", [2]string{}, no, "", ""},
		"a login page":            {403, "<html>", [2]string{}, unknown, "", ""},
		"a guest network":         {200, "<html>", [2]string{}, unknown, "", ""},
		"not now":                 {503, oo, [2]string{}, unknown, "", ""},
		"not so fast":             {429, oo, [2]string{}, unknown, "", ""},
		"the gateway may not":     {401, oo, [2]string{}, unknown, "", ""},
		"elsewhere":               {302, "", [2]string{"Location", "http://elsewhere/"}, unknown, "", ""},
		"a 409 without an answer": {409, "", [2]string{}, no, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.Method != http.MethodPost || r.Header.Get("If-None-Exist") != "identifier=a|b" || r.URL.Path != "/R4/Observation" {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				w.Header().Set("Content-Type", "application/fhir+json")
				if c.header[0] != "" {
					w.Header().Set(c.header[0], c.header[1])
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer srv.Close()
			base, _ := url.Parse(srv.URL + "/R4")
			w, err := New(base, 10*time.Second).Write(t.Context(), fhir.Change{Ref: fhir.Ref{Type: "Observation"}, Body: []byte(obs), NoneExist: "identifier=a|b"})
			var refused *fhir.Refusal
			got := unknown
			switch {
			case err == nil:
				got = made
			case errors.As(err, &refused):
				got = no
			}
			if got != c.want || asked != 1 || got == made && (w.Ref.ID != c.ref || w.Version != c.version) {
				t.Errorf("got %d, %+v, %v after %d requests", got, w, err, asked)
			}
		})
	}
}

// An update names its version, and what comes back must be what was sent.
func TestWriteUpdate(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || r.Header.Get("If-Match") != `W/"3"` || r.URL.Path != "/R4/Observation/7" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "application/fhir+json")
		w.Header().Set("ETag", `W/"4"`)
		_, _ = io.WriteString(w, `{"resourceType":"Observation","id":"`+r.URL.Query().Get("x")+`8"}`)
	}))
	defer srv.Close()
	base, _ := url.Parse(srv.URL + "/R4")
	c := New(base, 10*time.Second)
	if _, err := c.Write(t.Context(), fhir.Change{Ref: fhir.Ref{Type: "Observation", ID: "7"}, Body: []byte(`{}`), Base: "3"}); !errors.Is(err, fhir.ErrNonsense) {
		t.Errorf("another resource came back: %v", err)
	}
	srv.Close()
	if _, err := c.Write(t.Context(), fhir.Change{Ref: fhir.Ref{Type: "Observation", ID: "7"}, Body: []byte(`{}`), Base: "3"}); !errors.Is(err, fhir.ErrUnreachable) || c.Down(time.Now()) == "" {
		t.Errorf("nobody there: %v", err)
	}
}
