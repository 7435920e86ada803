package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Stale       How = "stale"        // stored and old; the EHR could not be asked
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
}

// Reader reads through the cache.
type Reader struct {
	Cache  *Cache
	Source Source
	Fresh  time.Duration // site policy: see TTL
	Log    *slog.Logger
	// Asked and Kept, when set, are told how every question to the EHR and every
	// attempt to keep an answer ended; nil is well. They must not block.
	Asked, Kept func(error)
	// Seen, when set, is shown every answer that was stored.
	Seen func(fhir.Query, fhir.Answer)
}

// Read answers q from the EHR or from the cache. What can't be stored or read
// back is no reason not to answer.
func (r *Reader) Read(ctx context.Context, q fhir.Query) (Result, error) {
	stored := r.stored(q)
	down := r.Source.Down(time.Now())
	switch judgeFirst(time.Now(), stored, r.Fresh, down) {
	case stepHit:
		return r.result(*stored, Hit, ""), nil
	case stepStale:
		return r.result(*stored, Stale, down), nil
	}
	etag := ""
	if stored != nil {
		etag = stored.ETag
	}
	a, changed, err := r.Source.Ask(ctx, q, etag)
	if r.Asked != nil && ctx.Err() == nil {
		r.Asked(err)
	}
	if err != nil {
		return r.without(q, stored, err)
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

// stored returns what the cache has. A record that does not open is as good as
// none, and is said.
func (r *Reader) stored(q fhir.Query) *fhir.Answer {
	a, ok, err := r.Cache.Get(q.Key())
	if err != nil {
		r.Log.Error("a stored answer is not usable, asking for it again", "err", err)
	}
	if err != nil || !ok {
		return nil
	}
	return &a
}

// without is a read that the EHR did not answer.
func (r *Reader) without(q fhir.Query, stored *fhir.Answer, err error) (Result, error) {
	if gone(err) {
		if err := r.Cache.Drop(q.Key()); err != nil {
			r.Log.Error("forget a record that is gone", "err", err)
		}
	}
	if judgeAfter(stored, err) == stepStale {
		return r.result(*stored, Stale, err.Error()), nil
	}
	return Result{}, err
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
	err := r.Cache.Put(q.Key(), a)
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
		Stored: how == Hit || how == Stale || how == Revalidated,
		TTL:    TTL(time.Now(), &a, r.Fresh),
	}
}

// Status is the value of Cache-Status (RFC 9211) for a result.
func (r Result) Status() string {
	ttl := int64(r.TTL / time.Second)
	switch r.How {
	case Hit:
		return fmt.Sprintf("clinicgate; hit; ttl=%d", ttl)
	case Stale:
		return fmt.Sprintf("clinicgate; hit; ttl=%d; detail=stale", min(ttl, -1))
	case Revalidated:
		return "clinicgate; fwd=stale; fwd-status=304"
	}
	s := fmt.Sprintf("clinicgate; %s; fwd-status=200", r.How)
	if r.Stored {
		s += "; stored"
	}
	return s
}
