package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/fhir"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	at := func(age, life time.Duration, revalidate bool) *fhir.Answer {
		return &fhir.Answer{At: now.Add(-age), Policy: fhir.Policy{MaxAge: life, Revalidate: revalidate}}
	}
	old, young, strict := at(time.Hour, -1, false), at(time.Second, -1, false), at(time.Hour, -1, true)
	unreachable := fmt.Errorf("x: %w", fhir.ErrUnreachable)
	nonsense := fmt.Errorf("x: %w", fhir.ErrNonsense)
	for name, c := range map[string]struct {
		stored *fhir.Answer
		fresh  time.Duration
		down   string
		first  step
		err    error
		after  step
	}{
		"unseen":                    {nil, 0, "", stepAsk, unreachable, stepFail},
		"unseen, no way out":        {nil, 0, "cut", stepAsk, unreachable, stepFail},
		"old":                       {old, 0, "", stepAsk, unreachable, stepStale},
		"old, nonsense":             {old, 0, "", stepAsk, nonsense, stepStale},
		"old, no way out":           {old, 0, "cut", stepStale, unreachable, stepStale},
		"young, no policy":          {young, 0, "", stepAsk, unreachable, stepStale},
		"young, site policy":        {young, time.Minute, "", stepHit, nil, stepFail},
		"young, policy, no way out": {young, time.Minute, "cut", stepHit, nil, stepFail},
		"old, EHR's lifetime":       {at(time.Hour, 2*time.Hour, false), 0, "", stepHit, nil, stepFail},
		"EHR beats the site":        {at(time.Hour, 0, false), 2 * time.Hour, "", stepAsk, unreachable, stepStale},
		"strict, no way out":        {strict, 0, "cut", stepAsk, unreachable, stepFail},
		"refused":                   {old, 0, "", stepAsk, &fhir.Refusal{Status: 403}, stepFail},
		"gone":                      {old, 0, "", stepAsk, &fhir.Refusal{Status: 410}, stepFail},
		"clock set back":            {at(-time.Hour, -1, false), time.Minute, "", stepHit, nil, stepFail},
	} {
		if got := judgeFirst(now, c.stored, Rules{Fresh: c.fresh}, c.down); got != c.first {
			t.Errorf("%s: first %v, want %v", name, got, c.first)
		}
		if c.err != nil {
			if got := judgeAfter(now, c.stored, Rules{Fresh: c.fresh}, c.err); got != c.after {
				t.Errorf("%s: after %v, want %v", name, got, c.after)
			}
		}
	}
}

// A script is an EHR that says what the test wants next.
type script struct {
	t     *testing.T
	down  string
	err   error
	body  string // empty: 304
	etag  string
	asked int
	pol   fhir.Policy
	got   string // ETag it was asked with
}

func (s *script) Ask(_ context.Context, _ fhir.Query, etag string) (fhir.Answer, bool, error) {
	s.asked++
	s.got = etag
	if s.err != nil {
		return fhir.Answer{}, false, s.err
	}
	a := fhir.Answer{ETag: s.etag, At: time.Now(), Policy: s.pol}
	if s.body == "" {
		return a, false, nil
	}
	a.Body = []byte(s.body)
	return a, true, nil
}

func (s *script) Down(time.Time) string { return s.down }

func reader(t *testing.T) (*Reader, *script) {
	b := newBox(t, 16<<20)
	t.Cleanup(b.close)
	s := &script{t: t, etag: `W/"1"`, pol: fhir.Policy{MaxAge: -1}}
	return &Reader{Cache: b.Cache, Source: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, s
}

var p1 = fhir.Ref{Type: "Patient", ID: "1"}

func (s *script) read(r *Reader, how How, body string) Result {
	s.t.Helper()
	res, err := r.Read(s.t.Context(), p1)
	if err != nil || res.How != how || string(res.Body) != body {
		s.t.Fatalf("got %q %q %v, want %q %q", res.How, res.Body, err, how, body)
	}
	return res
}

// A record's life: first read, confirmed, out of reach, changed, nonsense, gone.
func TestReadThrough(t *testing.T) {
	r, s := reader(t)
	s.body = "v1"
	if res := s.read(r, Fetched, "v1"); res.Status() != "clinicgate; fwd=uri-miss; fwd-status=200; stored" {
		t.Error(res.Status())
	}
	s.body = ""
	if res := s.read(r, Revalidated, "v1"); s.got != `W/"1"` || res.Status() != "clinicgate; fwd=stale; fwd-status=304" {
		t.Error(s.got, res.Status())
	}
	s.err = fhir.ErrUnreachable
	if res := s.read(r, Stale, "v1"); res.Why == "" || !strings.HasPrefix(res.Status(), "clinicgate; hit; ttl=") || !strings.HasSuffix(res.Status(), "detail=stale") {
		t.Error(res.Why, res.Status())
	}
	s.down = "no internet provider is usable"
	n := s.asked
	if res := s.read(r, Stale, "v1"); s.asked != n || res.Why != s.down {
		t.Errorf("asked %d times with no way out; why %q", s.asked-n, res.Why)
	}
	s.down, s.err, s.body, s.etag = "", nil, "v2", `W/"2"`
	s.read(r, Replaced, "v2")
	s.err = fmt.Errorf("%w: %w", fhir.ErrNonsense, fhir.ErrForeign)
	s.read(r, Stale, "v2")
	s.err = &fhir.Refusal{Status: 403}
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, s.err) {
		t.Errorf("forbidden: %v", err)
	}
	s.err = fhir.ErrUnreachable
	s.read(r, Stale, "v2") // a 403 may be lifted: what is stored stays
	s.err = &fhir.Refusal{Status: 410}
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, s.err) {
		t.Errorf("gone: %v", err)
	}
	s.err = fhir.ErrUnreachable
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("a deleted record came back: %v", err)
	}
}

func TestNotFoundIsNotKept(t *testing.T) {
	r, s := reader(t)
	s.err = &fhir.Refusal{Status: 404}
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, s.err) {
		t.Fatal(err)
	}
	s.err, s.body = nil, "born"
	s.read(r, Fetched, "born")
}

func TestNoStore(t *testing.T) {
	r, s := reader(t)
	s.body = "v1"
	s.read(r, Fetched, "v1")
	s.body, s.pol.NoStore = "v2", true
	if res := s.read(r, Replaced, "v2"); res.Stored {
		t.Error("no-store was stored")
	}
	s.err = fhir.ErrUnreachable
	if _, err := r.Read(t.Context(), p1); !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("out of date answer survived: %v", err)
	}
}

func TestFreshIsNotAsked(t *testing.T) {
	r, s := reader(t)
	r.Fresh = time.Minute
	s.body = "v1"
	s.read(r, Fetched, "v1")
	s.body = "v2"
	if res := s.read(r, Hit, "v1"); s.asked != 1 || !strings.HasPrefix(res.Status(), "clinicgate; hit; ttl=5") {
		t.Error(s.asked, res.Status())
	}
}

func TestHooks(t *testing.T) {
	r, s := reader(t)
	var asked, kept []error
	r.Asked = func(err error) { asked = append(asked, err) }
	r.Kept = func(err error) { kept = append(kept, err) }
	s.body = "v1"
	s.read(r, Fetched, "v1")
	s.err = fhir.ErrNonsense
	s.read(r, Stale, "v1")
	if len(asked) != 2 || asked[0] != nil || asked[1] == nil || len(kept) != 1 || kept[0] != nil {
		t.Errorf("asked %v kept %v", asked, kept)
	}
}
