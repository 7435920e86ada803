// Package prefetch brings records before they are needed: those of who is expected,
// of the clinic's panel and of who is pinned. Its one guarantee: it asks only when
// nobody waits for the line, and what today's list needs is never given up for
// anything else.
package prefetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/warm"
)

// Records is the cache and the EHR behind it; *cache.Reader is one.
type Records interface {
	Read(ctx context.Context, q fhir.Query) (cache.Result, error)
	Renew(ctx context.Context, patient fhir.Ref, since time.Time) (bytes int64, err error)
	Held(patient fhir.Ref) (at time.Time, resources int)
}

// Options of a prefetcher. All but Panel and Pinned are required.
type Options struct {
	Records Records
	Policy  warm.Policy
	Base    string                                        // the EHR's URL, for references
	Panel   string                                        // search for the clinic's own patients, as "organization=Organization/1"
	Pinned  string                                        // search for those who are always kept
	Down    func(time.Time) string                        // why the EHR can't be asked, or ""
	Busy    func() bool                                   // somebody waits for the line
	Keep    func(func(key string, patient fhir.Ref) bool) // told who is needed
	Log     *slog.Logger
}

// Prefetcher is the task. Its methods are safe for concurrent use.
type Prefetcher struct {
	o     Options
	lists map[string][]warm.Want // by listing, as it could be read last; owned by Run
	wants []warm.Want            // all of them; owned by Run

	mu     sync.Mutex
	held   map[string]warm.Held
	status Status
}

// Status is how far it is.
type Status struct {
	Wanted, Held int // patients
	Over         int // for whom there is no room
	Bytes        int64
	Trouble      string // why the lists of who is expected could not be read
}

// Pace.
const (
	listEvery   = 5 * time.Minute
	lookEvery   = 30 * time.Second
	busyWait    = time.Second
	downWait    = 5 * time.Second
	atOnce      = 4 // of lane routine
	daysAhead   = 8
	perResource = 2 << 10 // bytes, of a patient that was fetched by an earlier run
)

// New returns a prefetcher.
func New(o Options) *Prefetcher {
	return &Prefetcher{o: o, lists: map[string][]warm.Want{}, held: map[string]warm.Held{}}
}

// Status says how far it is.
func (p *Prefetcher) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Run fetches until ctx ends.
func (p *Prefetcher) Run(ctx context.Context) error {
	var listed time.Time
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(listed) >= listEvery {
			p.List(ctx, now)
			listed = now
		}
		if wait := p.Step(ctx, now); wait > 0 {
			pause(ctx, wait)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Step does the next fetches and returns how long to wait before the next, zero when
// there is more to do.
func (p *Prefetcher) Step(ctx context.Context, now time.Time) time.Duration {
	p.mu.Lock()
	plan := warm.Make(p.o.Policy, p.wants, p.held, now)
	p.status.Over, p.status.Wanted = plan.Over, len(plan.Keeps)+plan.Over
	p.mu.Unlock()
	p.o.Keep(func(_ string, patient fhir.Ref) bool { return plan.Keeps[patient.ID] })
	switch {
	case len(plan.Fetch) == 0 && !plan.Next.IsZero():
		return max(min(plan.Next.Sub(now), lookEvery), time.Millisecond)
	case len(plan.Fetch) == 0:
		return lookEvery
	case p.o.Down(now) != "":
		return downWait
	case plan.Fetch[0].Lane == lane.Bulk && p.o.Busy():
		return busyWait
	}
	p.fetch(ctx, plan.Fetch, now)
	return 0
}

// fetch takes the first turns of a plan: several at once of those who come today, one
// of the others.
func (p *Prefetcher) fetch(ctx context.Context, all []warm.Fetch, now time.Time) {
	first := all[0].Lane
	n := 1
	if first == lane.Routine && !p.o.Busy() {
		n = atOnce
	}
	turns := make(chan warm.Fetch)
	var done sync.WaitGroup
	for range n {
		done.Go(func() {
			for f := range turns {
				p.one(ctx, f, now)
			}
		})
	}
	// A round is short, so that who was added to the list meanwhile does not wait long.
	for _, f := range all[:min(len(all), 4*n)] {
		if f.Lane != first || ctx.Err() != nil || p.o.Down(now) != "" {
			break
		}
		turns <- f
	}
	close(turns)
	done.Wait()
}

func (p *Prefetcher) one(ctx context.Context, f warm.Fetch, at time.Time) {
	n, err := p.o.Records.Renew(ctx, fhir.Ref{Type: "Patient", ID: f.Patient}, f.Since)
	p.mu.Lock()
	defer p.mu.Unlock()
	h, known := p.held[f.Patient]
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		h.Failed, h.Fails = at, h.Fails+1
		if !errors.Is(err, fhir.ErrUnreachable) {
			p.o.Log.Warn("a patient's records could not be fetched ahead", "err", err)
		}
	case f.Since.IsZero():
		if !known || h.Whole.IsZero() {
			p.status.Held++
		}
		h = warm.Held{Whole: at, Swept: at, Bytes: n}
	default:
		h.Swept, h.Bytes, h.Failed, h.Fails = at, h.Bytes+n, time.Time{}, 0
	}
	p.held[f.Patient] = h
	p.status.Bytes += n
}

// List reads who is wanted. What can't be read stays as it was.
func (p *Prefetcher) List(ctx context.Context, now time.Time) {
	day := func(days int) string { return url.QueryEscape(now.AddDate(0, 0, days).Format(time.DateOnly)) }
	span := "date=ge" + day(-1) + "&date=lt" + day(daysAhead)
	type wanted struct {
		why warm.Why
		l   fhir.Listing
	}
	lists := []wanted{
		{warm.Listed, fhir.Listing{Name: "warm/visits", Type: "Appointment", Query: span + "&status=booked,arrived,checked-in,pending,proposed"}},
		{warm.Listed, fhir.Listing{Name: "warm/encounters", Type: "Encounter", Query: span + "&status=planned,arrived,triaged,in-progress"}},
	}
	if p.o.Panel != "" {
		lists = append(lists, wanted{warm.Panel, fhir.Listing{Name: "warm/panel", Type: "Patient", Query: p.o.Panel}})
	}
	if p.o.Pinned != "" {
		lists = append(lists, wanted{warm.Pinned, fhir.Listing{Name: "warm/pinned", Type: "Patient", Query: p.o.Pinned}})
	}
	trouble := ""
	p.wants = nil
	for _, list := range lists {
		found, err := p.read(ctx, list.l, list.why)
		if err == nil {
			p.lists[list.l.Name] = found
		} else {
			trouble = fmt.Sprintf("list %ss: %v", list.l.Type, err)
		}
		p.wants = append(p.wants, p.lists[list.l.Name]...)
	}
	p.remember()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Trouble = trouble
}

// read makes wants of one list.
func (p *Prefetcher) read(ctx context.Context, l fhir.Listing, why warm.Why) (wants []warm.Want, err error) {
	res, err := p.o.Records.Read(ctx, l)
	if err != nil {
		return nil, err
	}
	all, err := fhir.Resources(res.Body)
	for _, raw := range all {
		f, err := fhir.Facet(raw, p.o.Base)
		if err != nil || f.Patient.ID == "" {
			continue // of nobody, or of a patient elsewhere
		}
		w := warm.Want{Patient: f.Patient.ID, Why: why}
		for _, d := range f.Dates["date"] {
			w.When = time.UnixMilli(d.Start)
		}
		if why == warm.Listed && w.When.IsZero() {
			w.Why = warm.Panel
		}
		wants = append(wants, w)
	}
	return wants, err
}

// remember takes over what an earlier run has fetched of who is wanted.
func (p *Prefetcher) remember() {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := map[string]warm.Held{}
	n := 0
	for _, w := range p.wants {
		h, known := p.held[w.Patient]
		if !known {
			if at, resources := p.o.Records.Held(fhir.Ref{Type: "Patient", ID: w.Patient}); !at.IsZero() {
				h = warm.Held{Whole: at, Swept: at, Bytes: int64(resources) * perResource}
			}
		}
		if _, twice := held[w.Patient]; !twice && !h.Whole.IsZero() {
			n++
		}
		held[w.Patient] = h
	}
	p.held, p.status.Held = held, n
}
