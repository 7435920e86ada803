// Package consult decides what becomes of a case that a doctor has sent to a
// specialist far away: on its way, there, answered, over. It is pure: what the
// queue and the EHR say goes in as values with the time, what is to be announced
// comes out. Its guarantee: a reply counts only when all of it is here, each
// version of each reply is announced once, and a case goes back to no earlier state
// but by what the queue itself takes back.
package consult

import (
	"slices"
	"time"

	"clinicgate/syncd/fhir"
)

// State is where a case stands.
//
//	waiting ⇄ held          in this box's queue; held: a person must look
//	   └──► sent            the specialist's side has it
//	          ├──► declined the request was turned down there
//	          └──► answered ──► final   a final report, or the request was completed
//
// A reply to a declined or final case (an addendum) is announced and changes
// nothing else.
type State string

// The states.
const (
	Waiting  State = "waiting"
	Held     State = "held"
	Sent     State = "sent"
	Answered State = "answered"
	Declined State = "declined"
	Final    State = "final"
)

// Watch is how long after its last change a case is asked about.
const Watch = 90 * 24 * time.Hour

// Case is one request and what came back. It names its patient by reference only
// and is kept sealed.
type Case struct {
	ID      string     `json:"id"`      // of the queue's item
	Request fhir.Ref   `json:"request"` // ServiceRequest or Task
	Own     []fhir.Ref `json:"own"`     // resources that went with it
	Patient fhir.Ref   `json:"patient"` // zero: the case names a number only
	Urgent  bool       `json:"urgent"`
	State   State      `json:"state"`
	Began   time.Time  `json:"began"`
	Changed time.Time  `json:"changed"`
	Replies []Reply    `json:"replies,omitempty"`
	Seen    time.Time  `json:"seen,omitzero"` // newest reply by the EHR's clock
}

// Reply is something that came back, all of which is kept here.
type Reply struct {
	Ref     fhir.Ref  `json:"ref"`
	Version string    `json:"version"`
	At      time.Time `json:"at"` // when it was here
}

// Notice is a change that people want to hear of. It names nobody.
type Notice struct {
	Case    string    `json:"case"`
	State   State     `json:"state"`
	Replies int       `json:"replies"`
	Urgent  bool      `json:"urgent"`
	At      time.Time `json:"at"`
}

// New is a case just handed in.
func New(id string, request fhir.Ref, own []fhir.Ref, patient fhir.Ref, urgent bool, at time.Time) Case {
	return Case{ID: id, Request: request, Own: own, Patient: patient, Urgent: urgent, State: Waiting, Began: at, Changed: at}
}

// Queued takes the queue's word: Waiting, Held or Sent. What came back since
// outweighs it.
func (c *Case) Queued(s State, now time.Time) []Notice {
	if c.State != Waiting && c.State != Held || s == c.State {
		return nil
	}
	c.State, c.Changed = s, now
	if s == Waiting {
		return nil
	}
	return []Notice{c.Notice()}
}

// Asked says whether the EHR is worth asking about the case.
func (c *Case) Asked(now time.Time) bool {
	return c.State != Waiting && c.State != Held && now.Sub(c.Changed) < Watch
}

// Knows says whether a version of a reply is here, or is our own.
func (c *Case) Knows(ref fhir.Ref, version string) bool {
	return slices.Contains(c.Own, ref) || ref == c.Request || slices.ContainsFunc(c.Replies, func(r Reply) bool { return r.Ref == ref && r.Version == version })
}

// Found takes a reply, of which everything is here. Final: nothing more is to come.
// updated is the EHR's time of it.
func (c *Case) Found(ref fhir.Ref, version string, final bool, updated, now time.Time) []Notice {
	if c.Knows(ref, version) {
		return nil
	}
	if i := slices.IndexFunc(c.Replies, func(r Reply) bool { return r.Ref == ref }); i >= 0 {
		c.Replies[i] = Reply{ref, version, now}
	} else {
		c.Replies = append(c.Replies, Reply{ref, version, now})
	}
	if updated.After(c.Seen) {
		c.Seen = updated
	}
	switch {
	case final && c.State != Declined:
		c.State = Final
	case c.State == Sent || c.State == Waiting || c.State == Held: // the queue's receipt may come later than the answer
		c.State = Answered
	}
	c.Changed = now
	return []Notice{c.Notice()}
}

// Ended takes the status of the request, or of the task about it, at the EHR.
func (c *Case) Ended(status string, now time.Time) []Notice {
	var to State
	switch status {
	case "completed":
		to = Final
	case "revoked", "rejected", "failed", "cancelled", "entered-in-error":
		to = Declined
	default:
		return nil
	}
	if c.State == Final || c.State == Declined {
		return nil
	}
	c.State, c.Changed = to, now
	return []Notice{c.Notice()}
}

// Notice is how the case stands.
func (c *Case) Notice() Notice {
	return Notice{Case: c.ID, State: c.State, Replies: len(c.Replies), Urgent: c.Urgent, At: c.Changed}
}

// Over says whether the case may be forgotten: its own resources and the replies
// are at the EHR.
func (c *Case) Over(now time.Time) bool {
	return c.State != Waiting && c.State != Held && now.Sub(c.Changed) >= Watch
}
