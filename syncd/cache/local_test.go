package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/fhir"
)

// A hospital is an EHR that answers searches with what it has, or is out of reach.
type hospital struct {
	t     *testing.T
	has   map[string][]string // question → resources; "+" in front: included
	down  bool
	asked int
}

func (h *hospital) Down(time.Time) string {
	if h.down {
		return "no internet provider is usable"
	}
	return ""
}

func (h *hospital) Ask(_ context.Context, q fhir.Query, _ string) (fhir.Answer, bool, error) {
	h.asked++
	has, ok := h.has[q.Key()]
	if h.down {
		return fhir.Answer{}, false, fhir.ErrUnreachable
	}
	if !ok {
		return fhir.Answer{}, false, &fhir.Refusal{Status: 404}
	}
	a := fhir.Answer{At: time.Now(), Policy: fhir.Policy{MaxAge: -1}}
	if ref, ok := q.(fhir.Ref); ok {
		a.Body, a.ETag = []byte(has[0]), `W/"1"`
		_ = ref
		return a, true, nil
	}
	var entries []json.RawMessage
	for _, r := range has {
		rest, include := strings.CutPrefix(r, "+")
		entries = append(entries, fhir.NewEntry([]byte(rest), include))
	}
	a.Body = fhir.Join(entries)
	return a, true, nil
}

func observation(id, patient, code, date, status string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"meta":{"versionId":"1"},"status":%q,"category":[{"coding":[{"system":"c","code":"vital-signs"}]}],`+
		`"code":{"coding":[{"system":"http://loinc.org","code":%q}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":%q,"performer":[{"reference":"Practitioner/d"}],"value":1.00}`, id, status, code, patient, date)
}

func person(id, number, family, given, birth string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"identifier":[{"system":"urn:n","value":%q}],"name":[{"family":%q,"given":[%q]}],"birthDate":%q,"gender":"female"}`, id, number, family, given, birth)
}

const doctorD = `{"resourceType":"Practitioner","id":"d"}`

func ward1(t *testing.T) (*Reader, *hospital, *box) {
	b := newBox(t, 16<<20)
	h := &hospital{t: t, has: map[string][]string{
		"Patient/1": {person("1", "1001", "Öström", "Eva Lisa", "1980-04-05")},
		"Patient/2": {person("2", "1002", "Ostrander", "Bo", "1980-06-07")},
		"Patient/3": {person("3", "1003", "Lind", "Eva", "1991-01-01")},
		"Observation?patient=Patient/1": {
			observation("a", "1", "8867-4", "2026-11-20T08:00:00Z", "final"),
			observation("b", "1", "8867-4", "2026-11-22", "final"),
			observation("c", "1", "29463-7", "2026-10", "amended"),
		},
		"Condition?patient=Patient/1": {},
		"Practitioner/d":              {doctorD},
		"Observation/x":               {observation("x", "2", "8867-4", "2025-01-01", "final")},
	}}
	return &Reader{Cache: b.Cache, Source: h, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, h, b
}

// ask reads a question as a client writes it.
func (h *hospital) ask(r *Reader, typ, query string) (Result, error) {
	h.t.Helper()
	s, err := fhir.ParseSearch(typ, query)
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Read(h.t.Context(), s)
}

// ids of an answer's entries.
func (h *hospital) ids(res Result) string {
	h.t.Helper()
	all, err := fhir.Resources(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for _, raw := range all {
		var x struct{ ID string }
		if err := json.Unmarshal(raw, &x); err != nil {
			h.t.Fatal(err)
		}
		ids = append(ids, x.ID)
	}
	return strings.Join(ids, " ")
}

func TestOfflineSearches(t *testing.T) {
	r, h, b := ward1(t)
	for _, ref := range []string{"Patient/1", "Patient/2", "Patient/3", "Practitioner/d", "Observation/x"} {
		typ, id := cut(ref)
		if _, err := r.Read(t.Context(), fhir.Ref{Type: typ, ID: id}); err != nil {
			t.Fatal(ref, err)
		}
	}
	for _, typ := range []string{"Observation", "Condition"} {
		if _, err := h.ask(r, typ, "patient=1"); err != nil {
			t.Fatal(err)
		}
	}
	h.down = true
	check := func(t *testing.T) {
		for _, c := range []struct{ typ, query, ids, partial string }{
			{"Observation", "patient=1", "a b c", ""},
			{"Observation", "patient=1&code=8867-4", "a b", ""},
			{"Observation", "patient=1&code=http://loinc.org|8867-4&_sort=-date", "b a", ""},
			{"Observation", "patient=1&code=other|8867-4", "", ""},
			{"Observation", "patient=1&category=vital-signs&status=amended", "c", ""},
			{"Observation", "patient=1&status=final,amended&_sort=date", "c a b", ""},
			{"Observation", "patient=1&date=ge2026-11-21", "b", ""},
			{"Observation", "patient=1&date=ge2026-11&date=lt2026-11-22", "a", ""},
			{"Observation", "patient=1&date=2026-10", "c", ""},
			{"Observation", "patient=1&date=gt2030", "", ""},
			{"Observation", "patient=1&_id=b", "b", ""},
			{"Observation", "patient=1&code=29463-7&_include=Observation:performer", "c d", ""},
			{"Observation", "patient=1&code=29463-7&_include=Observation:subject", "c 1", ""},
			{"Condition", "patient=1", "", ""},
			{"Condition", "patient=1&code=x", "", ""},
			{"Observation", "patient=2", "x", onlySeen},
			{"Observation", "patient=2&date=2025-01-01", "x", onlySeen},
			{"Patient", "identifier=1002", "2", onlyPatients},
			{"Patient", "identifier=urn:n|1002,1003", "2 3", onlyPatients},
			{"Patient", "identifier=urn:other|1002", "504", ""},
			{"Patient", "name=ost", "1 2", onlyPatients},
			{"Patient", "family=Östr", "1 2", onlyPatients},
			{"Patient", "name=eva&birthdate=1980-04-05", "1", onlyPatients},
			{"Patient", "given=lisa", "1", onlyPatients},
			{"Patient", "name=lisa", "1", onlyPatients},
			{"Patient", "name:contains=ran", "2", onlyPatients},
			{"Patient", "birthdate=1980&_sort=-birthdate", "2 1", onlyPatients},
			{"Patient", "birthdate=ge1990", "3", onlyPatients},
			{"Patient", "_id=3", "3", onlyPatients},
			{"Patient", "name=nobody", "504", ""},
			{"Observation", "patient=3", "504", ""},
			{"Observation", "patient=2&code=none", "504", ""},
		} {
			res, err := h.ask(r, c.typ, c.query)
			got := "504"
			if err == nil {
				got = h.ids(res)
			} else if !errors.Is(err, fhir.ErrUnreachable) {
				t.Errorf("%s?%s: %v", c.typ, c.query, err)
			}
			if got != c.ids || res.Partial != c.partial {
				t.Errorf("%s?%s: got %q partial %q, want %q %q", c.typ, c.query, got, res.Partial, c.ids, c.partial)
			}
			if err == nil && (res.How != Stale || res.Why == "" || res.At.IsZero()) {
				t.Errorf("%s?%s: %+v", c.typ, c.query, res)
			}
		}
	}
	t.Run("as it was read", check)
	b.close()
	if err := os.Remove(filepath.Join(b.dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	b.open()
	r.Cache = b.Cache
	t.Run("after the index was lost", check)
	b.kill()
	r.Cache = b.Cache
	t.Run("after a kill", check)
	b.close()
}

// Everything that was read as one is there in parts, and the other way round.
func TestEverythingOffline(t *testing.T) {
	r, h, b := ward1(t)
	defer b.close()
	p := fhir.Ref{Type: "Patient", ID: "1"}
	all := fhir.Everything{Patient: p}
	h.has[all.Key()] = append(append([]string{}, h.has["Patient/1"]...), h.has["Observation?patient=Patient/1"]...)
	if _, err := r.Read(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	h.down = true
	if res, err := h.ask(r, "Observation", "patient=1&status=amended"); err != nil || h.ids(res) != "c" || res.Partial != "" {
		t.Errorf("%v %+v", err, res)
	}
	if res, err := h.ask(r, "Procedure", "patient=1"); err != nil || h.ids(res) != "" || res.Partial != "" {
		t.Errorf("a type of which there was nothing: %v %+v", err, res)
	}
	some := fhir.Everything{Patient: p, Types: []string{"Observation"}}
	if res, err := r.Read(t.Context(), some); err != nil || h.ids(res) != "a b c" || res.Partial != "" {
		t.Errorf("%v %+v", err, res)
	}
	if _, err := r.Read(t.Context(), fhir.Everything{Patient: fhir.Ref{Type: "Patient", ID: "2"}}); !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("a patient never read: %v", err)
	}
	if res, err := r.Read(t.Context(), fhir.Version{Of: fhir.Ref{Type: "Observation", ID: "a"}, Number: "1"}); err != nil || res.How != Hit {
		t.Errorf("the version that is kept: %v %+v", err, res)
	}
}

// A record is as old as the last word of the EHR that named it.
func TestListsConfirmRecords(t *testing.T) {
	r, h, b := ward1(t)
	defer b.close()
	old := fhir.Answer{Body: []byte(h.has["Observation?patient=Patient/1"][0]), ETag: `W/"1"`, At: time.Now().Add(-48 * time.Hour), Policy: fhir.Policy{MaxAge: -1}}
	if err := b.Put("Observation/a", old); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ask(r, "Observation", "patient=1"); err != nil {
		t.Fatal(err)
	}
	h.down = true
	res, err := r.Read(t.Context(), fhir.Ref{Type: "Observation", ID: "a"})
	if err != nil || time.Since(res.At) > time.Hour {
		t.Errorf("%v, of %v", err, res.At)
	}
}

// A record that was taken back while its list stands makes the answer partial; it
// never disappears without a word.
func TestLostMemberIsSaid(t *testing.T) {
	r, h, b := ward1(t)
	defer b.close()
	if _, err := h.ask(r, "Observation", "patient=1"); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop("Observation/b"); err != nil {
		t.Fatal(err)
	}
	h.down = true
	res, err := h.ask(r, "Observation", "patient=1")
	if err != nil || h.ids(res) != "a c" || !strings.Contains(res.Partial, "1 of 3") {
		t.Errorf("%v %+v", err, res)
	}
	if res, err := h.ask(r, "Observation", "patient=1&code=8867-4"); err != nil || h.ids(res) != "a" || res.Partial == "" {
		t.Errorf("%v %+v", err, res)
	}
}

// The site's rules: a little old is given and asked for behind, too old is not given.
func TestSiteRules(t *testing.T) {
	r, s := reader(t)
	r.Rules = Rules{Fresh: time.Nanosecond, Behind: time.Hour, OnFail: time.Hour}
	s.body = "v1"
	s.read(r, Fetched, "v1")
	if res := s.read(r, Behind, "v1"); !strings.HasSuffix(res.Status(), "detail=revalidating") {
		t.Error(res.Status())
	}
	for r.behind.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	old := answer("old")
	old.At = time.Now().Add(-2 * time.Hour)
	if err := r.Cache.Put("Patient/1", old); err != nil {
		t.Fatal(err)
	}
	s.err = fhir.ErrUnreachable
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("older than the site bears: %v", err)
	}
}

// Another patient's record that a damaged list would name is not in an answer.
func TestListsAreNotBelieved(t *testing.T) {
	r, h, b := ward1(t)
	defer b.close()
	for _, ref := range []string{"Patient/1", "Patient/2", "Observation/x"} {
		typ, id := cut(ref)
		if _, err := r.Read(t.Context(), fhir.Ref{Type: typ, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	b.mu.Lock()
	b.pending.list(b.listName(fhir.Filed(fhir.Ref{Type: "Patient", ID: "1"}, "Observation")), b.nameOf("Observation/x").short(), true)
	b.mu.Unlock()
	h.down = true
	if res, err := h.ask(r, "Observation", "patient=1"); err == nil {
		t.Errorf("got %s", h.ids(res))
	}
}
