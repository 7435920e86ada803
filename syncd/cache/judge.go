package cache

import (
	"errors"
	"net/http"
	"time"

	"clinicgate/syncd/fhir"
)

// A step is what a read does next.
type step int

const (
	stepAsk    step = iota // ask the EHR, with the stored ETag if there is one
	stepHit                // answer what is stored: it is fresh
	stepBehind             // answer what is stored and ask the EHR behind it
	stepStale              // answer what is stored and say that it is old, and why
	stepFail               // pass the error on
)

// Rules are the site's own, where the EHR says nothing.
type Rules struct {
	Fresh  time.Duration // an answer so young is given without asking
	Behind time.Duration // one older than that by so much is given, and asked for behind it (RFC 5861 §3)
	OnFail time.Duration // one older by so much is given when the EHR can't be asked (RFC 5861 §4); 0: any
}

// judgeFirst decides before the EHR is asked. down is why it is not worth
// waiting for, or "".
func judgeFirst(now time.Time, stored *fhir.Answer, rules Rules, down string) step {
	if stored == nil {
		return stepAsk
	}
	ttl := TTL(now, stored, rules.Fresh)
	switch {
	case ttl > 0:
		return stepHit
	case stored.Policy.Revalidate:
		return stepAsk
	case down != "" && rules.bears(ttl):
		return stepStale
	case down == "" && rules.Behind > 0 && -ttl <= rules.Behind:
		return stepBehind
	}
	return stepAsk
}

// bears says whether what is stale by so much may be shown for want of better.
func (r Rules) bears(ttl time.Duration) bool { return r.OnFail == 0 || -ttl <= r.OnFail }

// silent says that the EHR can't be reached or understood: it said nothing.
func silent(err error) bool {
	return errors.Is(err, fhir.ErrUnreachable) || errors.Is(err, fhir.ErrNonsense)
}

// judgeAfter decides after the EHR was asked in vain. An EHR that says no is
// believed: what is stored must not outlive a deletion or a lost permission. One
// that can't be reached or understood says nothing (RFC 9111 §4.2.4).
func judgeAfter(now time.Time, stored *fhir.Answer, rules Rules, err error) step {
	if stored != nil && silent(err) && !stored.Policy.Revalidate && rules.bears(TTL(now, stored, rules.Fresh)) {
		return stepStale
	}
	return stepFail
}

// gone reports that the EHR has no such record, or no longer.
func gone(err error) bool {
	var no *fhir.Refusal
	return errors.As(err, &no) && (no.Status == http.StatusNotFound || no.Status == http.StatusGone)
}

// TTL is how much longer an answer counts as fresh; negative when it is stale.
// fresh is the site's own policy, for an EHR that does not say.
func TTL(now time.Time, a *fhir.Answer, fresh time.Duration) time.Duration {
	life := a.Policy.MaxAge
	if life < 0 {
		life = fresh
	}
	age := max(0, now.Sub(a.At)) // a clock that was set back makes nothing younger
	return life - age
}
