package fhir

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Query is what can be asked of a FHIR server here: a Ref or a Search. Two
// queries with one Key have one answer, and no other patient's.
type Query interface {
	Key() string
}

// Key is the reference: one resource, one answer.
func (r Ref) Key() string { return r.String() }

// Answer is what the server said to a Query: its bytes and its validators.
type Answer struct {
	Body         []byte
	ETag         string
	LastModified string
	At           time.Time // when it was true, by our clock
	Policy       Policy
}

// What can come instead of an Answer. None of these quotes a body or an id.
var (
	// ErrUnreachable is no answer: no path, no connection, no time, or a server
	// that says it can't now (5xx, 429). What is stored may be shown.
	ErrUnreachable = errors.New("EHR unreachable")
	// ErrNonsense is an answer that is not what was asked for; when it is another
	// resource or another patient's it is ErrForeign too. It is never kept.
	ErrNonsense = errors.New("EHR answers nonsense")
)

// A Refusal is the server's own no: a status of 4xx with an OperationOutcome.
type Refusal struct {
	Status int
	Body   []byte // the OperationOutcome, as it came
}

// Error tells the status and nothing of the body.
func (r *Refusal) Error() string { return fmt.Sprintf("EHR refuses: status %d", r.Status) }

// Policy is what the server lets a cache do (RFC 9111 §5.2.2).
type Policy struct {
	NoStore    bool          // no-store, or private: we serve more than one person
	Revalidate bool          // must-revalidate and its like: never given stale
	MaxAge     time.Duration // fresh for so long; negative: not said
}

// ParsePolicy reads Cache-Control and Age. A directive that can't be read is
// taken in its strictest sense.
func ParsePolicy(cacheControl, age string) Policy {
	p := Policy{MaxAge: -1}
	shared := false
	for _, d := range strings.Split(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		switch strings.ToLower(name) {
		case "no-store", "private":
			p.NoStore = true
		case "no-cache":
			p.Revalidate, p.MaxAge, shared = true, 0, true
		case "must-revalidate", "proxy-revalidate":
			p.Revalidate = true
		case "max-age":
			if !shared {
				p.MaxAge = seconds(value)
			}
		case "s-maxage":
			p.MaxAge, shared, p.Revalidate = seconds(value), true, true
		}
	}
	if p.MaxAge > 0 && age != "" {
		p.MaxAge = max(0, p.MaxAge-seconds(age))
	}
	return p
}

// seconds reads a delta-seconds (RFC 9111 §1.2.2).
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(s, `"`), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
