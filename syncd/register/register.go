// Package register knows the clinic's patients by number and what is ordered for
// them, with the EHR or without it. Its one guarantee: what it says of a patient or
// an order is what the EHR last said, and it says whether the EHR was asked just
// now; it never makes a patient up and never forgets one because a link is down.
//
// It has no store of its own. Lists and patients lie in the record cache like any
// answer of the EHR; which patients carry a number is noted there as they are read.
package register

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/worklist"
)

// Records answers questions from the EHR or the cache; *cache.Reader does.
type Records interface {
	Read(ctx context.Context, q fhir.Query) (cache.Result, error)
}

// Store is where it is noted who carries a number; *cache.Cache is one.
type Store interface {
	Get(key string) (fhir.Answer, bool, error)
	Put(key string, a fhir.Answer) error
}

// Options of a register.
type Options struct {
	Store  Store
	Base   string // the EHR's URL, for absolute references
	Policy worklist.Policy
	Log    *slog.Logger
}

// Register is the register. Safe for concurrent use.
type Register struct {
	opt     Options
	records Records // always asks the EHR if it can
	lasting Records // is content with an answer of the last minutes

	mu      sync.Mutex
	entries []worklist.Entry
	at      time.Time // of the EHR's word behind entries
	trouble error     // why the last look at the orders failed
	recent  map[string]found
}

// found is who carries a number, as found lately.
type found struct {
	persons []identity.Person
	asked   bool
	at      time.Time
}

// New returns a register.
func New(o Options) *Register { return &Register{opt: o, recent: map[string]found{}} }

// Through says through whom it reads: records always asks the EHR if it can, lasting
// is content with an answer of the last minutes. They may tell Learn what they see.
// It comes before any question.
func (r *Register) Through(records, lasting Records) { r.records, r.lasting = records, lasting }

// Bounds of what is remembered between two items of one examination.
const (
	recently  = time.Minute
	maxRecent = 1024
)

// Know gathers what is known about a claim.
func (r *Register) Know(ctx context.Context, c identity.Claim) identity.Knowledge {
	k := identity.Knowledge{Orders: r.orders(c)}
	if c.Ref != "" {
		k.Persons, k.Asked = r.referred(ctx, c.Ref)
	}
	if len(k.Orders) > 0 || c.ID == "" || c.Ref != "" {
		return k
	}
	now := time.Now()
	r.mu.Lock()
	f, ok := r.recent[c.ID]
	r.mu.Unlock()
	if !ok || now.Sub(f.at) > recently || !f.asked {
		f = r.find(ctx, c.ID)
		f.at = now
		r.remember(c.ID, f)
	}
	k.Persons, k.Asked = f.persons, f.asked
	return k
}

func (r *Register) remember(number string, f found) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.recent) >= maxRecent {
		clear(r.recent)
	}
	r.recent[number] = f
}

// orders are those of the worklist that a claim names.
func (r *Register) orders(c identity.Claim) (all []identity.Order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if c.Study != "" && e.Study == c.Study || c.Accession != "" && e.Accession == c.Accession {
			all = append(all, identity.Order{Study: e.Study, Accession: e.Accession, Person: e.Person})
		}
	}
	return all
}

// find asks the EHR who carries a number. What was read before counts beside its
// answer only when it could not be asked.
func (r *Register) find(ctx context.Context, number string) (f found) {
	res, err := r.records.Read(ctx, fhir.Carriers(number))
	switch {
	case err == nil:
		f.asked = res.How != cache.Stale
		f.persons = r.persons(res.Body)
	case !errors.Is(err, fhir.ErrUnreachable):
		r.opt.Log.Warn("the EHR can't say who carries a number", "err", err)
	}
	if f.asked {
		return f
	}
	for _, ref := range r.noted(number) {
		if slices.ContainsFunc(f.persons, func(p identity.Person) bool { return p.Ref == ref.String() }) {
			continue
		}
		if a, ok, err := r.opt.Store.Get(ref.Key()); err == nil && ok {
			if p, err := fhir.DecodePatient(a.Body); err == nil && slices.ContainsFunc(p.Numbers, func(n fhir.Identifier) bool { return n.Value == number }) {
				f.persons = append(f.persons, worklist.Person(p))
			}
		}
	}
	return f
}

func (r *Register) persons(bundle []byte) (all []identity.Person) {
	resources, err := fhir.Resources(bundle)
	if err != nil {
		r.opt.Log.Error("a list of patients can't be read", "err", err)
	}
	for _, raw := range resources {
		p, err := fhir.DecodePatient(raw)
		if err != nil {
			r.opt.Log.Warn("a patient can't be read", "err", err)
			continue
		}
		all = append(all, worklist.Person(p))
	}
	return all
}

// Find returns the worklist's entries that meet a query.
func (r *Register) Find(q worklist.Query) (entries []worklist.Entry, more bool) {
	r.mu.Lock()
	all := r.entries
	r.mu.Unlock()
	return worklist.Find(all, q)
}

// Status counts the worklist and says how old it is and what is wrong with it: an
// fhir.ErrUnreachable when nobody could be asked.
func (r *Register) Status() (orders int, at time.Time, trouble error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries), r.at, r.trouble
}
