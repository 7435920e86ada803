package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
)

// post sends a body of a kind.
func (d *desk) post(path, kind, text string) *http.Response {
	return d.get(path, func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Type", kind)
	})
}

func TestVersionsAndEverything(t *testing.T) {
	d := newDesk(t)
	if r := d.get(Base + "/Patient/p1/_history/3"); r.StatusCode != 200 || body(t, r) != patient {
		t.Errorf("vread: %d", r.StatusCode)
	}
	d.res.Body = fhir.JoinHistory([]json.RawMessage{[]byte(`{"resource":` + patient + `}`), []byte(`{"request":{"method":"DELETE","url":"Patient/p1"}}`)})
	if text := body(t, d.get(Base+"/Patient/p1/_history?_count=1")); !strings.Contains(text, `"type":"history"`) || !strings.Contains(text, `_history?_count=1\u0026_offset=1"`) {
		t.Errorf("history: %s", text)
	}
	d.res.Body = fhir.Join([]json.RawMessage{fhir.NewEntry([]byte(patient), false)})
	if text := body(t, d.get(Base+"/Patient/p1/$everything")); !strings.Contains(text, `"fullUrl":"https://gw/fhir/R4/Patient/p1"`) {
		t.Errorf("everything: %s", text)
	}
	want := []string{"Patient/p1/_history/3", "Patient/p1/_history", "Patient/p1/$everything"}
	if strings.Join(d.asked, " ") != strings.Join(want, " ") {
		t.Errorf("asked %q", d.asked)
	}
	for i, e := range d.trail {
		if e.What != want[i] || e.Patient != "Patient/p1" || e.Action != []string{"read", "search", "search"}[i] {
			t.Errorf("trail %+v", e)
		}
	}
}

// A history may have been filed under another patient before.
func TestHistoryOfTwoPatients(t *testing.T) {
	d := patientAt(t)
	version := func(of string) json.RawMessage {
		return fmt.Appendf(nil, `{"resource":{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/%s"}}}`, of)
	}
	d.res.Body = fhir.JoinHistory([]json.RawMessage{version("p1"), version("p2")})
	outcome(t, d.get(Base+"/Observation/o/_history"), 403, fhir.CodeForbidden)
}

func TestSearchByPost(t *testing.T) {
	d := newDesk(t)
	d.res.Body = fhir.Join(nil)
	r := d.post(Base+"/Observation/_search?_sort=-date", "application/x-www-form-urlencoded; charset=utf-8", "patient=p1&code=http%3A%2F%2Floinc.org%7C8867-4")
	if text := body(t, r); r.StatusCode != 200 || !strings.Contains(text, `"searchset"`) {
		t.Fatalf("%d %s", r.StatusCode, text)
	}
	if want := "Observation?patient=Patient/p1&_sort=-date&code=http%3A%2F%2Floinc.org%7C8867-4"; d.asked[0] != want || d.trail[0].Action != "search" {
		t.Errorf("asked %q, trail %+v", d.asked, d.trail)
	}
	outcome(t, d.post(Base+"/Observation/_search", "application/x-www-form-urlencoded", "patient=p1&x="+strings.Repeat("x", maxForm)), 400, fhir.CodeNotSupported)
}

func TestConditional(t *testing.T) {
	d := newDesk(t)
	for name, c := range map[string]struct {
		header, value string
		status        int
	}{
		"same":            {"If-None-Match", `W/"3"`, 304},
		"other":           {"If-None-Match", `W/"2"`, 200},
		"not since":       {"If-Modified-Since", "Sun, 22 Nov 2026 08:00:00 GMT", 304},
		"since":           {"If-Modified-Since", "Sun, 22 Nov 2026 07:59:59 GMT", 200},
		"not a date":      {"If-Modified-Since", "yesterday", 200},
		"the tag matters": {"If-None-Match", `"x"`, 200},
	} {
		r := d.get(Base+"/Patient/p1", func(r *http.Request) {
			r.Header.Set("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")
			r.Header.Set(c.header, c.value)
		})
		if r.StatusCode != c.status {
			t.Errorf("%s: got %d, want %d", name, r.StatusCode, c.status)
		}
	}
}

func TestPrefer(t *testing.T) {
	d := newDesk(t)
	d.res.Body = fhir.Join(nil)
	outcome(t, d.get(Base+"/Observation?patient=p1&x=1"), 400, fhir.CodeNotSupported)
	r := d.get(Base+"/Observation?patient=p1&x=1", func(r *http.Request) { r.Header.Set("Prefer", "handling=lenient") })
	if text := body(t, r); r.StatusCode != 200 || !strings.Contains(text, "not known here: x") || r.Header.Get("Preference-Applied") != "handling=lenient" {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}

// A bundle says how old it is and whether it is all there is.
func TestBundleSaysHowGood(t *testing.T) {
	d := newDesk(t)
	d.res.Body = fhir.Join(nil)
	text := body(t, d.get(Base+"/Observation?patient=p1"))
	if !strings.Contains(text, `"code":"fresh"`) || !strings.Contains(text, `"code":"complete"`) || strings.Contains(text, "outcome") {
		t.Error(text)
	}
	d.res.How, d.res.Why, d.res.Partial = "stale", "cut", "only what was read here"
	d.res.How = "stale"
	text = body(t, d.get(Base+"/Observation?patient=p1"))
	if !strings.Contains(text, `"code":"partial"`) || !strings.Contains(text, "only what was read here") {
		t.Error(text)
	}
}

func TestBatch(t *testing.T) {
	d := newDesk(t)
	entry := func(method, url string) string {
		return fmt.Sprintf(`{"request":{"method":%q,"url":%q}}`, method, url)
	}
	bundle := func(kind string, entries ...string) string {
		return `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`
	}
	send := func(text string) (got struct {
		Type  string
		Entry []struct {
			Resource json.RawMessage
			Response struct {
				Status, ETag, LastModified string
				Outcome                    json.RawMessage
			}
		}
	}, r *http.Response) {
		r = d.post(Base, "application/fhir+json", text)
		if err := json.Unmarshal([]byte(body(t, r)), &got); err != nil {
			t.Fatal(err)
		}
		return got, r
	}
	got, r := send(bundle("batch", entry("GET", "Patient/p1"), entry("PUT", "Patient/p1"), entry("GET", "Nothing/1"), entry("GET", "/Patient/p1/_history/3")))
	if r.StatusCode != 200 || got.Type != "batch-response" || len(got.Entry) != 4 {
		t.Fatalf("%d %+v", r.StatusCode, got)
	}
	for i, status := range []string{"200", "405", "404", "200"} {
		if e := got.Entry[i]; e.Response.Status != status || (e.Resource != nil) != (status == "200") || (e.Response.Outcome != nil) == (status == "200") {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if e := got.Entry[0]; string(e.Resource) != patient || e.Response.ETag != `W/"3"` || e.Response.LastModified != "2026-11-22T08:00:00Z" {
		t.Errorf("%+v", e)
	}
	if len(d.trail) != 2 {
		t.Errorf("each read leaves a trace: %+v", d.trail)
	}
	if _, r := send(bundle("transaction", entry("GET", "Patient/p1"), entry("DELETE", "Patient/p1"))); r.StatusCode != 405 {
		t.Errorf("a transaction that writes: %d", r.StatusCode)
	}
	if _, r := send(bundle("transaction", entry("GET", "Patient/p1"), entry("GET", "Nothing/1"))); r.StatusCode != 404 {
		t.Errorf("a transaction that fails: %d", r.StatusCode)
	}
	if got, _ := send(bundle("transaction", entry("GET", "Patient/p1"))); got.Type != "transaction-response" {
		t.Errorf("%+v", got)
	}
	d.role = wire.RoleNurse
	if got, _ := send(bundle("batch", entry("GET", "Patient/p1"))); got.Entry[0].Response.Status != "403" {
		t.Errorf("a nurse reads by batch: %+v", got)
	}
}

// Whom the grant does not cover is not in the answer, nor counted.
func TestFoundPatientsAreSifted(t *testing.T) {
	d := patientAt(t)
	entry := func(id, number string) json.RawMessage {
		return fhir.NewEntry(fmt.Appendf(nil, `{"resourceType":"Patient","id":%q,"identifier":[{"value":%q}]}`, id, number), false)
	}
	d.res.Body = fhir.Join([]json.RawMessage{entry("p1", "1001"), entry("p2", "1002"), entry("p1", "1003")})
	text := body(t, d.get(Base+"/Patient?name=x"))
	if strings.Contains(text, "1002") || !strings.Contains(text, "1001") || !strings.Contains(text, `"total":1`) {
		t.Error(text)
	}
	d = newDesk(t)
	d.res.Body = fhir.Join([]json.RawMessage{entry("p1", "1001"), entry("p2", "1002")})
	of := d.h.Roster
	d.h.Roster = func() *grant.Roster { return of() }
	if text := body(t, d.get(Base+"/Patient?name=x")); !strings.Contains(text, `"total":2`) {
		t.Error(text)
	}
	if e := d.trail[0]; e.What != "Patient?name=x" || e.When.After(time.Now()) {
		t.Errorf("%+v", e)
	}
}
