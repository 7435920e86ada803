package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/image/lab/ehr"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/trail"
	"clinicgate/syncd/vault"
)

// far is a small FHIR server: AuditEvents, by transactions that happen whole or not at
// all, and faults.
type far struct {
	mu       sync.Mutex
	events   map[string]json.RawMessage
	order    []string
	versions int    // beyond the first
	fault    func() // called in front of an answer; may panic
	before   func() // called in front of everything
	refuse   string // a transaction with this in it is answered 422
	requests int
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if f.before != nil {
		f.before()
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	if r.Method == http.MethodGet {
		e, ok := f.events[strings.TrimPrefix(r.URL.Path, "/AuditEvent/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			e = json.RawMessage(`{"resourceType":"OperationOutcome"}`)
		}
		w.Write(e)
		return
	}
	var b struct {
		Entry []struct {
			Resource json.RawMessage
			Request  struct{ Method, URL string }
		}
	}
	if err := json.Unmarshal(body, &b); err != nil || f.refuse != "" && bytes.Contains(body, []byte(f.refuse)) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	var out []string
	for _, e := range b.Entry {
		id := strings.TrimPrefix(e.Request.URL, "AuditEvent/")
		if _, there := f.events[id]; there {
			f.versions++
		} else {
			f.order = append(f.order, id)
		}
		f.events[id] = e.Resource
		out = append(out, `{"response":{"status":"201 Created"}}`)
	}
	if f.fault != nil {
		f.fault()
	}
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"transaction-response","entry":[%s]}`, strings.Join(out, ","))
}

func newFar(t *testing.T) (*far, string) {
	f := &far{events: map[string]json.RawMessage{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, srv.URL
}

// A box has a trail, and a witness that takes it to a server.
type box struct {
	t     *testing.T
	dir   string
	vault *vault.Vault
	trail *trail.Trail
	w     *Witness
	url   string
	n     int
}

func newBox(t *testing.T, base string) *box {
	t.Helper()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	must(t, err)
	b := &box{t: t, dir: filepath.Join(t.TempDir(), "trail"), vault: v, url: base}
	b.open()
	t.Cleanup(func() { b.trail.Close() })
	return b
}

func (b *box) open() {
	b.t.Helper()
	var err error
	b.trail, err = trail.Open(b.dir, b.vault.Domain("audit"))
	must(b.t, err)
	u, err := url.Parse(b.url)
	must(b.t, err)
	b.w = New(Options{
		Trail: b.trail, Client: func() (*deliver.Client, error) { return deliver.NewClient(u, "", ""), nil },
		Away: func(time.Time) string { return "" }, Busy: func() bool { return false },
		Keep: time.Hour, Bytes: 1 << 30, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func (b *box) restart() {
	b.t.Helper()
	must(b.t, b.trail.Close())
	b.open()
}

// reads makes entries, the last of them taken over from cardauth.
func (b *box) reads(n int) {
	b.t.Helper()
	for range n {
		b.n++
		must(b.t, b.trail.Append(trail.Entry{
			When: time.Now().UTC(), Who: "Practitioner/d1", Role: "doctor", Room: "r1", Action: "read",
			What: fmt.Sprint("Observation/o", b.n), Patient: "Patient/p1", Purpose: "TREAT", Outcome: "fwd=stale",
		}))
	}
	must(b.t, b.trail.Append(trail.Entry{When: time.Now().UTC(), Action: "card", What: "AuditEvent", Event: json.RawMessage(
		`{"resourceType":"AuditEvent","id":"theirs","type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110114"},"recorded":"2026-11-22T08:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"cardauth"}}}`)}))
}

// deliver steps until nothing waits.
func (b *box) deliver() {
	b.t.Helper()
	for range 200 {
		b.w.Step(b.t.Context(), time.Now())
		if last, there := b.trail.Length(); last == there {
			return
		}
	}
	b.t.Fatalf("not delivered: %+v", b.w.Status())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check is what the far side can: every AuditEvent's line is in the record its hash
// says, and the records make one chain. It returns the last hash.
func check(t *testing.T, chain string, events []json.RawMessage) string {
	t.Helper()
	type record struct {
		lines      []string
		prev, hash string
	}
	records := map[int]*record{}
	for _, raw := range events {
		var e struct {
			ID     string
			Entity []struct {
				What struct {
					Identifier struct{ System, Value string }
				}
				Detail []struct{ Type, ValueString, ValueBase64Binary string }
			}
		}
		must(t, json.Unmarshal(raw, &e))
		l := e.Entity[len(e.Entity)-1]
		if l.What.Identifier.System != chainSystem+chain {
			continue
		}
		var n, i, of int
		fmt.Sscan(l.What.Identifier.Value, &n)
		r := records[n]
		if r == nil {
			r = &record{}
			records[n] = r
		}
		for _, d := range l.Detail {
			switch d.Type {
			case detailPlace:
				fmt.Sscanf(d.ValueString, "%d of %d", &i, &of)
			case detailPrev:
				r.prev = d.ValueString
			case detailHash:
				r.hash = d.ValueString
			case detailLine:
				line, err := base64.StdEncoding.DecodeString(d.ValueBase64Binary)
				must(t, err)
				r.lines = append(r.lines, make([]string, max(0, of-len(r.lines)))...)
				r.lines[i-1] = string(line)
			}
		}
		if e.ID != fmt.Sprintf("%s-%d-%d", chain, n, i-1) {
			t.Errorf("%s is entry %d of record %d", e.ID, i, n)
		}
	}
	prev := hex.EncodeToString(make([]byte, sha256.Size))
	for n := 1; n <= len(records); n++ {
		r := records[n]
		if r == nil {
			t.Fatalf("no record %d of %d", n, len(records))
		}
		raw, err := hex.DecodeString(r.prev)
		must(t, err)
		sum := sha256.Sum256(append(raw, strings.Join(r.lines, "\n")+"\n"...))
		if got := hex.EncodeToString(sum[:]); got != r.hash || r.prev != prev {
			t.Fatalf("record %d: hash %s, says %s; behind %s, says %s", n, got, r.hash, prev, r.prev)
		}
		prev = r.hash
	}
	return prev
}

func (f *far) all() (all []json.RawMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.order {
		all = append(all, f.events[id])
	}
	return all
}

// The far side has everything once, in order, and can check it.
func TestDelivered(t *testing.T) {
	f, base := newFar(t)
	b := newBox(t, base)
	b.reads(30)
	b.deliver()
	b.restart()
	b.reads(5)
	b.deliver()
	if len(f.events) != 37 || f.versions != 0 {
		t.Errorf("%d events, %d of them again", len(f.events), f.versions)
	}
	check(t, b.trail.Chain(), f.all())
	if !slices.IsSortedFunc(f.order, func(a, b string) int { return number(a) - number(b) }) {
		t.Errorf("order %v", f.order)
	}
	if f.requests > 20 {
		t.Errorf("%d requests for 36 records", f.requests)
	}
	must(t, b.w.Run(done(t)))
}

func done(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func number(id string) (n int) {
	fmt.Sscan(strings.Split(id, "-")[1], &n)
	return n
}

// The line breaks at every place, before and behind what the far side does, and the
// box is killed then: everything is there once.
func TestEveryStop(t *testing.T) {
	for stop := 1; stop <= 8; stop++ {
		for _, behind := range []bool{false, true} {
			f, base := newFar(t)
			n := 0
			cut := func() {
				if n++; n == stop {
					panic(http.ErrAbortHandler)
				}
			}
			if behind {
				f.fault = cut
			} else {
				f.before = cut
			}
			b := newBox(t, base)
			b.reads(4)
			for range 4 {
				b.w.Step(t.Context(), time.Now())
			}
			b.restart()
			b.reads(2)
			b.deliver()
			if len(f.events) != 8 || f.versions != 0 {
				t.Errorf("stop %d, behind %v: %d events, %d of them again", stop, behind, len(f.events), f.versions)
			}
			check(t, b.trail.Chain(), f.all())
		}
	}
}

// A note that was lost sends nothing again; a trail that was set back is told, and
// goes on under another name; what is there stays.
func TestSetBack(t *testing.T) {
	f, base := newFar(t)
	b := newBox(t, base)
	b.reads(3)
	must(t, b.trail.Close())
	early := filepath.Join(t.TempDir(), "early")
	must(t, os.CopyFS(early, os.DirFS(b.dir)))
	b.open()
	b.reads(3)
	b.deliver()
	was := b.trail.Chain()
	must(t, os.Remove(b.dir+".delivered"))
	b.restart()
	b.deliver()
	if f.versions != 0 || len(f.events) != 8 || b.w.Status().Forked != nil {
		t.Fatalf("after the note was lost: %d events, %d again", len(f.events), f.versions)
	}

	must(t, b.trail.Close())
	must(t, os.RemoveAll(b.dir))
	must(t, os.Remove(b.dir+".delivered"))
	must(t, os.CopyFS(b.dir, os.DirFS(early)))
	b.open()
	b.reads(2)
	b.deliver()
	if r := b.w.Status().Forked; r == nil || r.Number != 5 || b.trail.Chain() == was || f.versions != 0 {
		t.Fatalf("fork at %+v, now %q, before %q; %d again", r, b.trail.Chain(), was, f.versions)
	}
	if len(f.events) != 11 {
		t.Errorf("%d events, want 8 and 3 under the other name", len(f.events))
	}
	check(t, was, f.all())
}

// What the far side refuses goes without references; what it refuses even so is
// never passed over.
func TestRefused(t *testing.T) {
	f, base := newFar(t)
	f.refuse = `"reference":"Observation/o2"`
	b := newBox(t, base)
	b.reads(4)
	b.deliver()
	if len(f.events) != 5 {
		t.Fatalf("%d events", len(f.events))
	}
	check(t, b.trail.Chain(), f.all())
	var withWho, withRef int
	for _, e := range f.all() {
		withWho += strings.Count(string(e), "Practitioner/d1")
		withRef += strings.Count(string(e), `"reference":"Practitioner/d1"`)
	}
	if withRef != 3 || withWho != 4 {
		t.Errorf("%d say who, %d by reference; want 4 and 3", withWho, withRef)
	}

	f.mu.Lock()
	f.refuse = "AuditEvent"
	f.mu.Unlock()
	b.reads(1)
	var wait time.Duration
	for range 4 {
		wait = max(wait, b.w.Step(t.Context(), time.Now()))
	}
	if st := b.w.Status(); !st.Refuse || st.Reason == "" || st.Oldest.IsZero() || wait == 0 {
		t.Fatalf("refused: %+v, wait %v", st, wait)
	}
	f.mu.Lock()
	f.refuse = ""
	f.mu.Unlock()
	b.deliver()
	b.w.Step(t.Context(), time.Now())
	if st := b.w.Status(); st.Refuse || st.Reason != "" || !st.Oldest.IsZero() || len(f.events) != 7 {
		t.Errorf("then: %+v, %d events", st, len(f.events))
	}
	check(t, b.trail.Chain(), f.all())
}

// It waits while nothing can go and while people wait for the line, but not for ever.
func TestYields(t *testing.T) {
	f, base := newFar(t)
	b := newBox(t, base)
	b.reads(1)
	b.w.o.Away = func(time.Time) string { return "cut" }
	b.w.Step(t.Context(), time.Now())
	b.w.o.Away, b.w.o.Busy = func(time.Time) string { return "" }, func() bool { return true }
	b.w.Step(t.Context(), time.Now())
	if f.requests != 0 || b.w.Status().Oldest.IsZero() {
		t.Fatalf("%d requests, %+v", f.requests, b.w.Status())
	}
	b.w.Step(t.Context(), time.Now().Add(2*yieldMost))
	if f.requests == 0 {
		t.Error("people who read keep the trail here for ever")
	}
	b.w.o.Client = func() (*deliver.Client, error) { return nil, errors.New("no password") }
	b.w.client = nil
	b.w.Step(t.Context(), time.Now().Add(2*yieldMost))
	if st := b.w.Status(); !st.Refuse || st.Reason != "no password" {
		t.Errorf("without a client: %+v", st)
	}
}

// A FHIR server that nobody here wrote takes all of it, once, whatever gets lost.
func TestMedplum(t *testing.T) {
	modules := filepath.Join("..", "..", "..", "build", "lab", "ehr")
	lab.Require(t, lab.Root, ehr.Installed(modules))
	space, err := netns.New(fmt.Sprintf("witness%d", os.Getpid()))
	must(t, err)
	t.Cleanup(func() { space.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := ehr.Start(ctx, ehr.Config{Space: space, Dir: modules, Listen: "127.0.0.1:8103", Log: filepath.Join(t.TempDir(), "ehr.log")})
	must(t, err)
	t.Cleanup(server.Proc.Kill)
	relay := httptest.NewServer(forward(space))
	t.Cleanup(relay.Close)
	b := newBox(t, relay.URL+"/fhir/R4")
	b.reads(20)
	b.deliver()
	must(t, server.Play(ehr.Faults{DropAfterCommit: 3}))
	b.reads(3)
	b.deliver()
	all, err := server.Dump()
	must(t, err)
	var events []json.RawMessage
	for _, r := range all {
		if r.Type == "AuditEvent" {
			events = append(events, r.Raw)
		}
	}
	if len(events) != 25 {
		t.Fatalf("the EHR has %d AuditEvents, want 25; %+v", len(events), b.w.Status())
	}
	check(t, b.trail.Chain(), events)
}

// forward is a way into the EHR's namespace.
func forward(space *netns.Space) http.Handler {
	c := &http.Client{Transport: &http.Transport{DialContext: space.DialContext}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://127.0.0.1:8103"+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		out.Header = r.Header.Clone()
		resp, err := c.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	})
}
