package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/consult"
	"clinicgate/syncd/consult/casebook"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/format"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/vault"
)

// A world is a queue and an EHR that say what a test wants.
type world struct {
	t      *testing.T
	items  map[queue.ID]queue.Item
	state  map[queue.ID]queue.State
	ehr    map[string]string // Type/id → resource
	down   bool
	asked  []string
	faults []wire.Fault
	said   []consult.Notice
	log    bytes.Buffer
	book   *casebook.Book
	f      *Follower
}

func newWorld(t *testing.T) *world {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, items: map[queue.ID]queue.Item{}, state: map[queue.ID]queue.State{}, ehr: map[string]string{}}
	if w.book, _, err = casebook.Open(t.TempDir(), v.Domain("consults")); err != nil {
		t.Fatal(err)
	}
	w.begin()
	return w
}

// begin is a start of the program: what is only in memory is gone.
func (w *world) begin() {
	w.f = New(Options{
		Queue: w, Records: w, Book: w.book, Base: "http://ehr", Faults: w, Fault: "foreign", Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Say: func(n consult.Notice) { w.said = append(w.said, n) },
	})
}

func (w *world) Raise(f wire.Fault)        { w.faults = append(w.faults, f) }
func (w *world) Clear(string, string) bool { return false }

func (w *world) List(s queue.State) (all []queue.Brief) {
	for id, it := range w.items {
		if w.state[id] == s {
			all = append(all, queue.Brief{ID: id, Kind: it.Kind, Lane: it.Lane, Accepted: it.Accepted})
		}
	}
	return all
}

func (w *world) Describe(id queue.ID) (queue.Item, error) { return w.items[id], nil }

// Read answers as a server that ignores what it is searched by, so that the reader's
// own care shows.
func (w *world) Read(_ context.Context, q fhir.Query) (cache.Result, error) {
	w.asked = append(w.asked, q.Key())
	if w.down {
		return cache.Result{}, fhir.ErrUnreachable
	}
	l, ok := q.(fhir.Listing)
	if !ok {
		body, there := w.ehr[q.Key()]
		if !there {
			return cache.Result{}, &fhir.Refusal{Status: 404}
		}
		return cache.Result{Answer: fhir.Answer{Body: []byte(body)}, How: cache.Fetched}, nil
	}
	var all []string
	for ref, body := range w.ehr {
		if strings.HasPrefix(ref, l.Type+"/") {
			all = append(all, `{"resource":`+body+`}`)
		}
	}
	return cache.Result{Answer: fhir.Answer{Body: []byte(`{"resourceType":"Bundle","type":"searchset","entry":[` + strings.Join(all, ",") + `]}`)}, How: cache.Fetched}, nil
}

// submit puts an item with these resources into the queue.
func (w *world) submit(n byte, resources string) queue.ID {
	id := queue.ID{n}
	w.items[id] = queue.Item{Kind: format.FHIR, Lane: lane.Stat, Accepted: time.Now(), Meta: map[string]string{
		ingest.MetaResources: resources, queue.MetaPatientRef: "Patient/p",
	}}
	w.state[id] = queue.Waiting
	return id
}

func (w *world) has(ref, more string) {
	typ, id, _ := strings.Cut(ref, "/")
	w.ehr[ref] = fmt.Sprintf(`{"resourceType":%q,"id":%q,"meta":{"versionId":"1","lastUpdated":"2026-11-22T09:00:00Z"},"subject":{"reference":"Patient/p"}%s}`, typ, id, more)
}

func (w *world) expect(states ...consult.State) {
	w.t.Helper()
	var got []consult.State
	for _, n := range w.said {
		got = append(got, n.State)
	}
	if fmt.Sprint(got) != fmt.Sprint(states) {
		w.t.Fatalf("said %v, want %v", got, states)
	}
	w.said = nil
}

func TestThereAndBack(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	id := w.submit(1, "ServiceRequest/a Communication/own")
	w.submit(2, "DocumentReference/alone") // asks nobody
	w.f.Look(now)
	w.expect()
	if err := w.f.Sweep(t.Context(), now); err != nil || len(w.asked) != 0 {
		t.Fatalf("asked %v about a case that is still here: %v", w.asked, err)
	}
	w.state[id] = queue.Delivered
	if !w.f.Look(now) {
		t.Error("it was delivered unnoticed")
	}
	w.expect(consult.Sent)

	w.has("Communication/own", `,"basedOn":[{"reference":"ServiceRequest/a"}]`)
	w.has("Communication/other", `,"basedOn":[{"reference":"ServiceRequest/b"}]`)
	w.has("Communication/x", `,"basedOn":[{"reference":"http://ehr/ServiceRequest/a"}],"payload":[{"contentReference":{"reference":"DocumentReference/d"}}]`)
	w.has("DocumentReference/d", `,"content":[{"attachment":{"url":"Binary/b"}}]`)
	w.has("Binary/b", "")
	if err := w.f.Sweep(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	w.expect(consult.Answered)
	read := fmt.Sprint(w.asked)
	for _, ref := range []string{"Communication/x", "DocumentReference/d", "Binary/b"} {
		if !strings.Contains(read, ref) {
			t.Errorf("%s was not read: %s", ref, read)
		}
	}
	w.begin() // and nothing is said twice over a restart
	w.f.Look(now)
	if err := w.f.Sweep(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	w.expect()
	w.has("ServiceRequest/a", `,"status":"completed"`)
	if err := w.f.Sweep(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	w.expect(consult.Final)
	if strings.Contains(w.log.String(), "Patient") {
		t.Error(w.log.String())
	}
}

// A reply counts when all of it is here; the line breaks before.
func TestHalfAReply(t *testing.T) {
	w := newWorld(t)
	id := w.submit(1, "ServiceRequest/a")
	w.state[id] = queue.Delivered
	w.f.Look(time.Now())
	w.expect(consult.Sent)
	w.down = true
	if err := w.f.Sweep(t.Context(), time.Now()); !errors.Is(err, fhir.ErrUnreachable) {
		t.Fatalf("line down: %v", err)
	}
	w.expect()
	w.down = false
	w.has("Media/m", `,"basedOn":[{"reference":"ServiceRequest/a"}],"content":{"url":"Binary/gone"}`)
	if err := w.f.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	w.expect(consult.Answered) // what the EHR itself does not have is not waited for
}

func TestAnotherPatients(t *testing.T) {
	w := newWorld(t)
	id := w.submit(1, "ServiceRequest/a")
	w.state[id] = queue.Delivered
	w.f.Look(time.Now())
	w.has("Communication/x", `,"basedOn":[{"reference":"ServiceRequest/a"}]`)
	w.ehr["Communication/x"] = strings.Replace(w.ehr["Communication/x"], "Patient/p", "Patient/q", 1)
	if err := w.f.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	w.expect(consult.Sent)
	if len(w.faults) != 1 || w.faults[0].ID != "foreign" || strings.Contains(w.faults[0].What, "Patient/") {
		t.Errorf("faults %+v", w.faults)
	}
}

// Many cases are asked about together.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	for i := range byte(90) {
		w.state[w.submit(i, fmt.Sprintf("ServiceRequest/s%d", i))] = queue.Delivered
	}
	w.f.Look(time.Now())
	if err := w.f.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if want := 3 * len(consult.Questions("ServiceRequest")); len(w.asked) != want {
		t.Errorf("%d questions about 90 cases, want %d", len(w.asked), want)
	}
	if err := w.f.Sweep(t.Context(), time.Now().Add(consult.Watch+time.Hour)); err != nil || len(w.book.Cases()) != 0 {
		t.Errorf("%d cases are kept for ever: %v", len(w.book.Cases()), err)
	}
}
