package prefetch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/warm"
)

// An office is the EHR and the line to it, as a test wants them.
type office struct {
	mu      sync.Mutex
	lists   map[string][]string // listing → resources
	fetched []string
	fails   map[string]bool
	busy    bool
	down    string
	at      map[string]time.Time
	keeps   func(string, fhir.Ref) bool
}

func (o *office) Read(_ context.Context, q fhir.Query) (cache.Result, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all, ok := o.lists[q.Key()]
	if !ok {
		return cache.Result{}, fhir.ErrUnreachable
	}
	var entries []json.RawMessage
	for _, r := range all {
		entries = append(entries, fhir.NewEntry([]byte(r), false))
	}
	return cache.Result{Answer: fhir.Answer{Body: fhir.Join(entries)}}, nil
}

func (o *office) Renew(_ context.Context, p fhir.Ref, since time.Time) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := p.ID
	if !since.IsZero() {
		name += "+"
	}
	o.fetched = append(o.fetched, name)
	if o.fails[p.ID] {
		return 0, fhir.ErrUnreachable
	}
	return 1000, nil
}

func (o *office) Held(p fhir.Ref) (time.Time, int) { return o.at[p.ID], 10 }

func (o *office) took() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(o.fetched)
	got := strings.Join(o.fetched, " ")
	o.fetched = nil
	return got
}

var now = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

func newOffice() (*office, *Prefetcher) {
	visit := func(id string, in time.Duration) string {
		return fmt.Sprintf(`{"resourceType":"Appointment","id":"a%s","start":%q,"participant":[{"actor":{"reference":"Practitioner/d"}},{"actor":{"reference":"Patient/%s"}}]}`, id, now.Add(in).Format(time.RFC3339), id)
	}
	o := &office{fails: map[string]bool{}, at: map[string]time.Time{}, lists: map[string][]string{
		"listing/warm/visits":     {visit("anna", 12*time.Hour), visit("bo", 11*time.Hour), visit("far", 100*time.Hour)},
		"listing/warm/encounters": {`{"resourceType":"Encounter","id":"e","subject":{"reference":"Patient/carin"},"period":{"start":"2026-11-22T19:00:00Z"}}`},
		"listing/warm/panel":      {`{"resourceType":"Patient","id":"anna"}`, `{"resourceType":"Patient","id":"panel"}`},
	}}
	p := New(Options{
		Records: o, Policy: warm.Default(1 << 30), Panel: "organization=1", Log: slog.New(slog.DiscardHandler),
		Down: func(time.Time) string { return o.down }, Busy: func() bool { return o.busy }, Keep: func(f func(string, fhir.Ref) bool) { o.keeps = f },
	})
	return o, p
}

func TestDayAhead(t *testing.T) {
	o, p := newOffice()
	p.List(t.Context(), now)
	o.busy = true
	for range 3 { // people read: one at a time, and only of those who come
		p.Step(t.Context(), now)
	}
	if got := o.took(); got != "anna bo carin" {
		t.Errorf("while people read: %q", got)
	}
	if wait := p.Step(t.Context(), now); wait != busyWait || o.took() != "" {
		t.Errorf("spare bandwidth was taken that is none; waits %v", wait)
	}
	o.busy = false
	for range 5 {
		p.Step(t.Context(), now)
	}
	if got := o.took(); got != "far panel" {
		t.Errorf("then: %q", got)
	}
	if !o.keeps("", fhir.Ref{Type: "Patient", ID: "anna"}) || o.keeps("", fhir.Ref{Type: "Patient", ID: "stranger"}) {
		t.Error("what is needed is not kept, or what is not is")
	}
	if s := p.Status(); s.Wanted != 5 || s.Held != 5 || s.Bytes != 5000 || s.Over != 0 || s.Trouble != "" {
		t.Errorf("%+v", s)
	}
	for range 3 { // changes are due
		p.Step(t.Context(), now.Add(31*time.Minute))
	}
	if got := o.took(); got != "anna+ bo+ carin+" {
		t.Errorf("half an hour later: %q", got)
	}
}

func TestNothingWithoutTheEHR(t *testing.T) {
	o, p := newOffice()
	p.List(t.Context(), now)
	o.down = "no internet provider is usable"
	if wait := p.Step(t.Context(), now); wait != downWait || o.took() != "" {
		t.Errorf("waits %v", wait)
	}
	o.lists = nil
	for range 3 {
		p.List(t.Context(), now)
	}
	if s := p.Status(); s.Trouble == "" || len(p.wants) != 6 {
		t.Errorf("who was expected is forgotten: %d, %+v", len(p.wants), s)
	}
}

func TestWhatAnEarlierRunFetched(t *testing.T) {
	o, p := newOffice()
	for _, id := range []string{"anna", "bo", "carin", "far", "panel"} {
		o.at[id] = now.Add(-time.Minute)
	}
	p.List(t.Context(), now)
	if wait := p.Step(t.Context(), now); wait == 0 || o.took() != "" {
		t.Errorf("fetched again what is there; waits %v", wait)
	}
	if wait := p.Step(t.Context(), now.Add(40*time.Minute)); wait != 0 || o.took() != "anna+ bo+ carin+" {
		t.Errorf("changes were not asked for; waits %v", wait)
	}
}

func TestOneWhoFailsHoldsUpNobody(t *testing.T) {
	o, p := newOffice()
	o.fails["bo"] = true
	p.List(t.Context(), now)
	for range 6 {
		p.Step(t.Context(), now)
	}
	if got := o.took(); strings.Count(got, "bo") != 1 || !strings.Contains(got, "panel") {
		t.Errorf("%q", got)
	}
}
