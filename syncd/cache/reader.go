package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"clinicgate/syncd/fhir"
)

// A Source is the EHR. Ask returns an answer to q, or changed false when the one
// with that ETag still holds; its errors are fhir's. Down says why asking is not
// worth the wait, or "". Both must be safe for concurrent use.
type Source interface {
	Ask(ctx context.Context, q fhir.Query, etag string) (a fhir.Answer, changed bool, err error)
	Down(now time.Time) string
}

// How an answer came about.
type How string

// The ways, in the words of RFC 9211 where it has them.
const (
	Fetched     How = "fwd=uri-miss" // from the EHR, not stored before
	Replaced    How = "fwd=stale"    // from the EHR, newer than what was stored
	Revalidated How = "revalidated"  // stored, and the EHR just confirmed it
	Hit         How = "hit"          // stored and fresh
	Behind      How = "behind"       // stored and a little old; the EHR is being asked now
	Stale       How = "stale"        // stored and old; the EHR could not be asked
	Written     How = "pending"      // written here, and not at the EHR yet
)

// Result is an answer and how it came about.
type Result struct {
	fhir.Answer
	How    How
	Stored bool          // it is in the cache now
	TTL    time.Duration // negative: stale for so long
	Why    string        // Stale: why the EHR could not be asked
	// Partial says why an answer of many resources may lack some; "" when it is whole
	// as of At.
	Partial string
	Built   bool // put together here, from what other questions brought
	Pending int  // resources in it that the EHR does not have so yet
}

// Reader reads through the cache.
type Reader struct {
	Cache  *Cache
	Source Source
	Rules
	Log *slog.Logger
	// Asked and Kept, when set, are told how every question to the EHR and every
	// attempt to keep an answer ended; nil is well. They must not block.
	Asked, Kept func(error)
	// Seen, when set, is shown every answer that was stored.
	Seen func(fhir.Query, fhir.Answer)
	// Pending, when set, is what is laid over what the EHR has.
	Pending Pending

	behind atomic.Int32 // questions asked behind an answer that was given
}

// maxBehind bounds the questions that are asked behind answers.
const maxBehind = 8

// known answers q from the EHR or from the cache. What can't be stored or read
// back is no reason not to answer.
func (r *Reader) known(ctx context.Context, q fhir.Query) (Result, error) {
	stored, partial := r.stored(q)
	if stored != nil && r.mayLack(q, stored) {
		stored, partial = nil, ""
	}
	down := r.Source.Down(time.Now())
	switch judgeFirst(time.Now(), stored, r.Rules, down) {
	case stepHit:
		if partial == "" {
			return r.result(*stored, Hit, ""), nil
		}
	case stepBehind:
		if partial == "" && r.mayBehind() {
			go r.refresh(context.WithoutCancel(ctx), q, stored)
			return r.result(*stored, Behind, ""), nil
		}
	case stepStale:
		return r.stale(q, stored, partial, down), nil
	}
	if _, fixed := q.(fhir.Version); fixed && stored == nil {
		if res, ok := r.local(q); ok {
			return r.result(res.Answer, Hit, ""), nil
		}
	}
	if stored == nil && down != "" {
		if res, ok := r.local(q); ok {
			return r.fromLocal(res, down), nil
		}
	}
	return r.ask(ctx, q, stored, partial)
}

// mayBehind takes one of the turns to ask behind an answer, if one is left.
func (r *Reader) mayBehind() bool {
	if r.behind.Add(1) <= maxBehind {
		return true
	}
	r.behind.Add(-1)
	return false
}

// refresh asks behind an answer that was given.
func (r *Reader) refresh(ctx context.Context, q fhir.Query, stored *fhir.Answer) {
	defer r.behind.Add(-1)
	if _, err := r.ask(ctx, q, stored, ""); err != nil {
		r.Log.Info("an answer could not be renewed behind the reader", "err", err)
	}
}

// ask asks the EHR, and falls back on what is stored.
func (r *Reader) ask(ctx context.Context, q fhir.Query, stored *fhir.Answer, partial string) (Result, error) {
	etag := ""
	if stored != nil {
		etag = stored.ETag
	}
	a, changed, err := r.Source.Ask(ctx, q, etag)
	if r.Asked != nil && ctx.Err() == nil {
		r.Asked(err)
	}
	if err != nil {
		return r.without(q, stored, partial, err)
	}
	if !changed {
		return r.confirmed(q, *stored, a), nil
	}
	how := Fetched
	if stored != nil {
		how = Replaced
	}
	res := r.result(a, how, "")
	res.Stored = r.store(q, a)
	return res, nil
}

// without is a read that the EHR did not answer.
func (r *Reader) without(q fhir.Query, stored *fhir.Answer, partial string, err error) (Result, error) {
	if gone(err) {
		if err := r.Cache.Drop(q.Key()); err != nil {
			r.Log.Error("forget a record that is gone", "err", err)
		}
	}
	if judgeAfter(time.Now(), stored, r.Rules, err) == stepStale {
		return r.stale(q, stored, partial, err.Error()), nil
	}
	if stored == nil && silent(err) {
		if res, ok := r.local(q); ok {
			return r.fromLocal(res, err.Error()), nil
		}
	}
	return Result{}, err
}

// stale is a stored answer given because the EHR could not be asked.
func (r *Reader) stale(q fhir.Query, stored *fhir.Answer, partial, why string) Result {
	if ref, ok := q.(fhir.Ref); ok {
		stored.At = r.confirmedAt(ref, *stored)
	}
	res := r.result(*stored, Stale, why)
	res.Partial = partial
	return res
}

// fromLocal is an answer that was put together here.
func (r *Reader) fromLocal(local Result, why string) Result {
	res := r.result(local.Answer, Stale, why)
	res.Partial, res.Built = local.Partial, true
	return res
}

// confirmed is a stored answer that the EHR answered 304 to.
func (r *Reader) confirmed(q fhir.Query, stored, word fhir.Answer) Result {
	if err := r.Cache.Touch(q.Key(), stored, word.At); err != nil {
		r.Log.Error("note that a stored answer holds", "err", err)
	}
	stored.At = word.At
	return r.result(stored, Revalidated, "")
}

// store keeps a new answer if it may be kept; if it may not, what was stored
// before is out of date and goes too.
func (r *Reader) store(q fhir.Query, a fhir.Answer) bool {
	if a.Policy.NoStore {
		if err := r.Cache.Drop(q.Key()); err != nil {
			r.Log.Error("forget an answer that is out of date", "err", err)
		}
		return false
	}
	if r.outdated(q, &a) {
		return false // asked before a change of ours that has been answered since
	}
	var err error
	if isSet(q) {
		err = r.putSet(q, a)
	} else {
		err = r.Cache.Put(q.Key(), a)
	}
	if errors.Is(err, ErrTooLarge) {
		r.Log.Warn("an answer is too large to keep", "bytes", len(a.Body))
		return false
	}
	if r.Kept != nil {
		r.Kept(err)
	}
	if err != nil {
		r.Log.Error("keep an answer", "bytes", len(a.Body), "err", err)
		return false
	}
	if r.Seen != nil {
		r.Seen(q, a)
	}
	return true
}

func (r *Reader) result(a fhir.Answer, how How, why string) Result {
	return Result{
		Answer: a, How: how, Why: why,
		Stored: how == Hit || how == Stale || how == Behind || how == Revalidated,
		TTL:    TTL(time.Now(), &a, r.Fresh),
	}
}

// Status is the value of Cache-Status (RFC 9211) for a result.
func (r Result) Status() string {
	ttl := int64(r.TTL / time.Second)
	switch r.How {
	case Hit:
		return fmt.Sprintf("clinicgate; hit; ttl=%d", ttl)
	case Behind:
		return fmt.Sprintf("clinicgate; hit; ttl=%d; detail=revalidating", min(ttl, -1))
	case Stale:
		detail := "stale"
		if r.Built {
			detail = "index"
		}
		return fmt.Sprintf("clinicgate; hit; ttl=%d; detail=%s", min(ttl, -1), detail)
	case Written:
		return "clinicgate; hit; detail=pending"
	case Revalidated:
		return "clinicgate; fwd=stale; fwd-status=304"
	}
	s := fmt.Sprintf("clinicgate; %s; fwd-status=200", r.How)
	if r.Stored {
		s += "; stored"
	}
	return s
}
