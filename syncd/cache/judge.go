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
	stepAsk   step = iota // ask the EHR, with the stored ETag if there is one
	stepHit               // answer what is stored: it is fresh
	stepStale             // answer what is stored and say that it is old, and why
	stepFail              // pass the error on
)

// judgeFirst decides before the EHR is asked. down is why it is not worth
// waiting for, or "".
func judgeFirst(now time.Time, stored *fhir.Answer, fresh time.Duration, down string) step {
	switch {
	case stored == nil:
		return stepAsk
	case TTL(now, stored, fresh) > 0:
		return stepHit
	case down != "" && !stored.Policy.Revalidate:
		return stepStale
	}
	return stepAsk
}

// judgeAfter decides after the EHR was asked in vain. An EHR that says no is
// believed: what is stored must not outlive a deletion or a lost permission. One
// that can't be reached or understood says nothing (RFC 9111 §4.2.4).
func judgeAfter(stored *fhir.Answer, err error) step {
	lost := errors.Is(err, fhir.ErrUnreachable) || errors.Is(err, fhir.ErrNonsense)
	if stored != nil && lost && !stored.Policy.Revalidate {
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
