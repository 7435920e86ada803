// Package deliver brings what waits in the queue to its destinations. Its one
// guarantee: an item is closed only after its destination has shown that it has
// it, and no attempt is made that could leave it there twice: one attempt at a
// time per item, and each begins by asking.
//
// What a destination refuses for good is held with its reason; it holds up nothing.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"clinicgate/syncd/allowance"
	"clinicgate/syncd/queue"
)

// A Sender speaks one destination's protocol. It must be safe for concurrent use
// with different items.
type Sender interface {
	// Send brings an item there and returns how it is known to be there. It asks
	// first whether the item is there already, from an earlier attempt or another
	// sender. tried says that an earlier attempt may have been done unnoticed.
	// An error that is no *Failure counts as Troubled.
	Send(ctx context.Context, it queue.Item, tried bool, body Body) (proof string, err error)
}

// Body opens an item's body; a Sender may open it more than once.
type Body func() (io.ReadCloser, error)

// Kind says whose matter a failure is.
type Kind int

// The kinds of failure.
const (
	// Troubled: this item didn't get through; it is tried again, ever less often.
	Troubled Kind = iota
	// Refused: this item will never be taken as it is; a person must look.
	Refused
	// Unreachable: the destination doesn't work now, for any item.
	Unreachable
	// Refusing: the destination works and doesn't let us in; a person must look,
	// at the destination and not at the item.
	Refusing
	// Pending: what this item needs before it may be sent is out of reach; it is
	// tried again and never given up for that.
	Pending
)

// Failure is an attempt's end without delivery.
type Failure struct {
	Kind   Kind
	Reason string        // for people; without patient data
	After  time.Duration // the destination's wish, not to be asked before
	Err    error
}

// Error joins reason and cause.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Reason
	}
	return fmt.Sprintf("%s: %v", f.Reason, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Refuse is the failure of an item for good.
func Refuse(format string, args ...any) error {
	return &Failure{Kind: Refused, Reason: fmt.Sprintf(format, args...)}
}

// failure sees any error as a Failure.
func failure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Kind: Troubled, Reason: err.Error()}
}

// Destination is a partner outside the clinic.
type Destination struct {
	Name    string
	Kind    string   // for the wire file: "stow", "fhir"
	Accepts []string // kinds of item; the first destination that accepts a kind gets it
	Sender  Sender
}

// Policy has the engine's figures. The zero value of each means its default.
type Policy struct {
	Workers   int           // attempts at once per destination, besides one for stat alone (2)
	First     time.Duration // pause after a destination first failed; doubles (1 s)
	Most      time.Duration // longest such pause (30 s)
	GiveUp    int           // attempts after which an item that others pass is held (12)
	ItemFirst time.Duration // pause of an item that failed by itself (2 s)
	Share     allowance.Policy
}

func (p Policy) withDefaults() Policy {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&p.First, time.Second)
	set(&p.Most, 30*time.Second)
	set(&p.ItemFirst, 2*time.Second)
	if p.Workers == 0 {
		p.Workers = 2
	}
	if p.GiveUp == 0 {
		p.GiveUp = 12
	}
	return p
}
