// Package owner stands before a destination and asks whose an item is. Its one
// guarantee: an item that contradicts what is known of its patient is never sent
// there until a person has looked at it; one whose patient is not known is sent
// only where the destination finds its patients by itself.
package owner

import (
	"context"
	"maps"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/queue"
)

// Knowing gathers what is known about a claim; *register.Register does.
type Knowing interface {
	Know(ctx context.Context, c identity.Claim) identity.Knowledge
}

// Sender is a destination's sender behind the question.
type Sender struct {
	deliver.Sender
	Known Knowing
	// Matched: only items of a known patient are sent. Otherwise the destination
	// matches by itself, and items of unknown patients are sent as they are.
	Matched bool
	// Same: the destination is the EHR that knows the patients, so that they can
	// be named to it by reference.
	Same bool
}

// Why begins the reason of an item that is held because of its patient.
const Why = "patient: "

// Send sends an item if that can't be to the wrong patient.
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	if it.Released != "" {
		return s.Sender.Send(ctx, it, tried, body) // a person has decided
	}
	c := Claim(it)
	got := identity.Judge(c, s.Known.Know(ctx, c))
	switch got.Verdict {
	case identity.Match:
		if s.Same {
			it.Meta = maps.Clone(it.Meta)
			it.Meta[queue.MetaPatientRef] = got.Ref
		}
	case identity.Mismatch:
		return "", deliver.Refuse("%s%s", Why, got.Reason)
	case identity.Unasked:
		if s.Matched {
			return "", &deliver.Failure{Kind: deliver.Pending, Reason: Why + string(got.Reason)}
		}
	default:
		if s.Matched {
			return "", deliver.Refuse("%s%s", Why, got.Reason)
		}
	}
	return s.Sender.Send(ctx, it, tried, body)
}

// Claim is who an item says it is about.
func Claim(it queue.Item) identity.Claim {
	return identity.Claim{
		ID: it.Meta[queue.MetaPatientID], Issuer: it.Meta[queue.MetaPatientIssuer], Name: it.Meta[queue.MetaPatientName],
		Birth: it.Meta[queue.MetaPatientBirth], Study: it.Meta[queue.MetaStudyUID], Accession: it.Meta[queue.MetaAccession],
		Ref: it.Meta[queue.MetaPatientRef],
	}
}
