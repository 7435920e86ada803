// Package follow watches over the cases a clinic has sent out: it takes them up from
// the queue, asks the EHR what came back, and has all of it read into the record
// cache. Its guarantee: what is announced as answered can be read here, with the EHR
// or without it, and is kept in the casebook before anybody hears of it.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
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
)

// Queue is where cases wait; *queue.Queue is one.
type Queue interface {
	List(s queue.State) []queue.Brief
	Describe(id queue.ID) (queue.Item, error)
}

// Records answers queries from the EHR or the cache and keeps the answers;
// *cache.Reader does.
type Records interface {
	Read(ctx context.Context, q fhir.Query) (cache.Result, error)
}

// Faults takes notice of what a person should know; *daemon.Faults does.
type Faults interface {
	Raise(wire.Fault)
	Clear(id, where string) bool
}

// Options of a Follower. All are required but Say and Poll.
type Options struct {
	Queue   Queue
	Records Records
	Book    *casebook.Book
	Base    string // the EHR's URL, for absolute references
	Faults  Faults
	Fault   string // ID of the fault of a reply about another patient than the case's
	Log     *slog.Logger
	Say     func(consult.Notice) // told of every change, behind the casebook
	Poll    time.Duration        // between two sweeps of the EHR (15 s)
}

// Figures.
const (
	lookEvery = 2 * time.Second
	soon      = 4 * time.Second // after the EHR could not be reached
	together  = 40              // cases asked about in one question
)

// Follower does it.
type Follower struct {
	opt Options

	mu   sync.Mutex
	seen map[queue.ID]bool // items whose description was read
	own  map[fhir.Ref]bool // all that was handed in here: no reply
}

// New returns a follower.
func New(o Options) *Follower {
	if o.Poll == 0 {
		o.Poll = 15 * time.Second
	}
	if o.Say == nil {
		o.Say = func(consult.Notice) {}
	}
	return &Follower{opt: o, seen: map[queue.ID]bool{}, own: map[fhir.Ref]bool{}}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	var due time.Time
	for ctx.Err() == nil {
		sent := f.Look(time.Now())
		if now := time.Now(); sent || !now.Before(due) {
			due = now.Add(f.opt.Poll)
			switch err := f.Sweep(ctx, now); {
			case errors.Is(err, fhir.ErrUnreachable):
				due = now.Add(soon)
			case err != nil && ctx.Err() == nil:
				f.opt.Log.Warn("replies can't be asked for", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	return nil
}

// Look takes the queue's word: new cases, and what became of those on their way. It
// reports whether one was delivered since the last look.
func (f *Follower) Look(now time.Time) (sent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := map[string]consult.Case{}
	for _, c := range f.opt.Book.Cases() {
		known[c.ID] = c
	}
	for state, word := range map[queue.State]consult.State{
		queue.Waiting: consult.Waiting, queue.Delivering: consult.Waiting, queue.Delivered: consult.Sent, queue.Held: consult.Held,
	} {
		for _, b := range f.opt.Queue.List(state) {
			if b.Kind != format.FHIR {
				continue
			}
			c, ok := known[b.ID.String()]
			if !ok {
				if c, ok = f.takeUp(b); !ok {
					continue
				}
			}
			sent = f.queued(c, word, now) || sent
		}
	}
	return sent
}

// takeUp makes a case of an item that asks for something. What it brings is ours,
// case or not.
func (f *Follower) takeUp(b queue.Brief) (consult.Case, bool) {
	if f.seen[b.ID] {
		return consult.Case{}, false
	}
	it, err := f.opt.Queue.Describe(b.ID)
	if err != nil {
		f.opt.Log.Error("an item can't be read", "item", b.ID, "err", err)
		return consult.Case{}, false
	}
	f.seen[b.ID] = true
	var request fhir.Ref
	var own []fhir.Ref
	for _, text := range strings.Fields(it.Meta[ingest.MetaResources]) {
		typ, id, _ := strings.Cut(text, "/")
		ref := fhir.Ref{Type: typ, ID: id}
		own = append(own, ref)
		f.own[ref] = true
		if typ == "ServiceRequest" && request.Type != typ || typ == "Task" && request == (fhir.Ref{}) {
			request = ref
		}
	}
	if request == (fhir.Ref{}) {
		return consult.Case{}, false
	}
	typ, id, _ := strings.Cut(it.Meta[queue.MetaPatientRef], "/")
	patient, err := fhir.ParseRef(typ, id)
	if err != nil {
		patient = fhir.Ref{} // by number only
	}
	c := consult.New(b.ID.String(), request, own, patient, b.Lane == lane.Stat, b.Accepted)
	return c, f.save(c, nil) == nil
}

// queued moves a case on by the queue's word and reports whether it was delivered.
func (f *Follower) queued(c consult.Case, word consult.State, now time.Time) bool {
	for _, ref := range c.Own {
		f.own[ref] = true
	}
	was := c.State
	said := c.Queued(word, now)
	if c.State == was || f.save(c, said) != nil {
		return false
	}
	return c.State == consult.Sent
}

// save keeps a case and then says what there is to say.
func (f *Follower) save(c consult.Case, said []consult.Notice) error {
	if err := f.opt.Book.Save(c); err != nil {
		f.opt.Log.Error("a case can't be kept", "err", err)
		return err
	}
	for _, n := range said {
		f.opt.Log.Info("consultation", "case", n.Case, "state", n.State, "replies", n.Replies)
		f.opt.Say(n)
	}
	return nil
}

// Sweep asks the EHR about all open cases. After an error the rest is asked the next
// time; what was found until then is kept.
func (f *Follower) Sweep(ctx context.Context, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	groups := map[string][]*consult.Case{} // by request's type and whether anything came back
	for _, c := range f.opt.Book.Cases() {
		switch {
		case c.Over(now):
			if err := f.opt.Book.Forget(c.ID); err != nil {
				f.opt.Log.Error("forget a case", "err", err)
			}
		case c.Asked(now):
			key := fmt.Sprint(c.Request.Type, c.Seen.IsZero())
			groups[key] = append(groups[key], &c)
		}
	}
	var errs []error
	for _, all := range groups {
		for len(all) > 0 {
			n := min(together, len(all))
			errs = append(errs, f.ask(ctx, all[:n], now))
			all = all[n:]
		}
	}
	return errors.Join(errs...)
}

// ask asks about some cases, whose requests are of one type.
func (f *Follower) ask(ctx context.Context, cases []*consult.Case, now time.Time) error {
	for _, q := range consult.Questions(cases[0].Request.Type) {
		var names []string
		for _, c := range cases {
			if name := c.Request.String(); q.Param == "_id" {
				names = append(names, c.Request.ID)
			} else {
				names = append(names, name)
			}
		}
		query := q.Param + "=" + url.QueryEscape(strings.Join(names, ","))
		if since := consult.Since(cases); !since.IsZero() && q.Param != "_id" {
			query += "&_lastUpdated=ge" + url.QueryEscape(since.UTC().Format(time.RFC3339))
		}
		res, err := f.opt.Records.Read(ctx, fhir.Listing{Name: "consult/" + q.Type, Type: q.Type, Query: query})
		if err != nil {
			return fmt.Errorf("ask for %ss: %w", q.Type, err)
		}
		if res.How == cache.Stale {
			return fmt.Errorf("ask for %ss: %w", q.Type, fhir.ErrUnreachable)
		}
		if err := f.take(ctx, cases, q, res.Body, now); err != nil {
			return err
		}
	}
	return nil
}

// take sorts an answer to the cases it is about. A server that passes over the
// parameter answers with more; that is dropped.
func (f *Follower) take(ctx context.Context, cases []*consult.Case, q consult.Question, bundle []byte, now time.Time) error {
	resources, err := fhir.Resources(bundle)
	if err != nil {
		return err
	}
	for _, raw := range resources {
		a, err := consult.ReadAnswer(raw, f.opt.Base)
		if err != nil {
			f.opt.Log.Warn("a reply can't be read", "err", err)
			continue
		}
		for _, c := range cases {
			if !about(a, c.Request, q) {
				continue
			}
			if err := f.reply(ctx, c, a, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func about(a consult.Answer, request fhir.Ref, q consult.Question) bool {
	if q.Param == "_id" {
		return a.Ref == request
	}
	for _, ref := range a.About {
		if ref == request {
			return true
		}
	}
	return false
}

// reply takes one resource about one case: a change of the request's own status, or
// something new, which is read with all it refers to before it counts.
func (f *Follower) reply(ctx context.Context, c *consult.Case, a consult.Answer, now time.Time) error {
	if a.Patient != (fhir.Ref{}) && c.Patient != (fhir.Ref{}) && a.Patient != c.Patient {
		f.opt.Faults.Raise(wire.Fault{
			ID: f.opt.Fault, Severity: wire.Alarm, Where: "case " + c.ID[:12],
			What: "the EHR has a " + a.Type + " in answer to this case that is about another patient; it is not shown as an answer",
			Do:   "have the specialist who answered look at it: one of the two patients is wrong",
		})
		return nil
	}
	if a.Ref == c.Request || a.Type == "Task" {
		if said := c.Ended(a.Status, now); said != nil {
			return f.save(*c, said)
		}
		return nil
	}
	if f.own[a.Ref] || c.Knows(a.Ref, a.Version) {
		return nil
	}
	if err := f.fetch(ctx, a, 0); err != nil {
		return err
	}
	f.refresh(ctx, a, c.Patient)
	return f.save(*c, c.Found(a.Ref, a.Version, a.Final, a.Updated, now))
}

// maxDepth is how far what a reply refers to is followed: a report, its image, the
// image's bytes.
const maxDepth = 2

// fetch has a reply read, and what it refers to, so that all of it is in the cache.
// What is not there, says the EHR, can't be waited for.
func (f *Follower) fetch(ctx context.Context, a consult.Answer, depth int) error {
	res, err := f.opt.Records.Read(ctx, a.Ref)
	var no *fhir.Refusal
	if errors.As(err, &no) {
		f.opt.Log.Warn("a part of a reply is not to be had", "status", no.Status)
		return nil
	}
	if err == nil && res.How == cache.Stale {
		err = fhir.ErrUnreachable
	}
	if err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	if depth == maxDepth {
		return nil
	}
	inside, err := consult.ReadAnswer(res.Body, f.opt.Base)
	if err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	for _, ref := range inside.Links {
		if f.own[ref] {
			continue
		}
		if err := f.fetch(ctx, consult.Answer{Envelope: fhir.Envelope{Ref: ref}}, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// refresh has the search by patient asked again that the reply is found with, so
// that it is listed without the EHR too.
func (f *Follower) refresh(ctx context.Context, a consult.Answer, patient fhir.Ref) {
	if patient == (fhir.Ref{}) {
		return
	}
	s, err := fhir.ParseSearch(a.Type, "patient="+patient.ID)
	if err == nil {
		_, err = f.opt.Records.Read(ctx, s)
	}
	if err != nil {
		f.opt.Log.Warn("a list can't be brought up to date", "type", a.Type, "err", err)
	}
}
