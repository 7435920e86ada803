// Package pending is what doctors changed and the EHR does not have yet, or does not
// want. Its one guarantee: an edit goes to the EHR in its patient's order, under names
// by which it is found there, and never over a version that its author did not see;
// what can't be so becomes a clash, and is never sent.
//
// It is pure: edits come in as values, what to send and what to show come out.
package pending

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"clinicgate/syncd/fhir"
)

// State is where an edit stands.
//
//	Waiting ─▶ Sent ─▶ Done        the EHR has it
//	              ├──▶ Refused     the EHR said no, and its author was told at once
//	              └──▶ Clashed     the EHR said no later: a Task says so
//
// An edit is Sent from before its first byte leaves: whether the EHR has it must be
// asked before it is sent again.
type State string

// The states.
const (
	Waiting State = "waiting"
	Sent    State = "sent"
	Done    State = "done"
	Refused State = "refused"
	Clashed State = "clashed"
)

// Open says that the EHR's word is still to come.
func (s State) Open() bool { return s == Waiting || s == Sent }

// An Author is who changed something, for the trail.
type Author struct {
	Session string `json:"sid"`
	Who     string `json:"who"`
	Role    string `json:"role"`
	Room    string `json:"room,omitempty"`
	Device  string `json:"device,omitempty"`
	Purpose string `json:"purpose,omitempty"`
}

// A Change is one resource made or changed.
type Change struct {
	Ref  fhir.Ref `json:"ref"` // of what is made: the id that holds here
	New  bool     `json:"new,omitempty"`
	Hide bool     `json:"hide,omitempty"`
	// Base is the version it changes: the EHR's, or one that is pending itself.
	Base      string `json:"base,omitempty"`
	NoneExist string `json:"none_exist,omitempty"` // the author's own condition
	Closes    bool   `json:"closes,omitempty"`     // it closes a Task
	Body      []byte `json:"body,omitempty"`       // without marks of ours; nil once it is done

	// Once it is done:
	At      fhir.Ref `json:"at,omitzero"` // its name at the EHR
	Version string   `json:"version,omitempty"`
	Found   bool     `json:"found,omitempty"` // it was there already, and is not its author's
}

// An Edit is what was changed by one request: all of it or nothing.
type Edit struct {
	ID      string    `json:"id"` // a UUID
	Seq     uint64    `json:"seq"`
	When    time.Time `json:"when"`
	Patient fhir.Ref  `json:"patient"`
	Author
	Changes []Change  `json:"changes"`
	Digest  string    `json:"digest,omitempty"` // of the request, where a key may repeat it
	State   State     `json:"state"`
	Tries   int       `json:"tries,omitempty"`
	Ended   time.Time `json:"ended,omitzero"`
	Why     string    `json:"why,omitempty"`    // of a clash, for people; names nobody
	Status  int       `json:"status,omitempty"` // the EHR's
	Task    fhir.Ref  `json:"task,omitzero"`    // that tells of the clash
	Of      string    `json:"of,omitempty"`     // this is the Task of that edit's clash
	Settled bool      `json:"settled,omitempty"`
}

// Systems of the marks on a resource.
const (
	EditSystem    = "urn:clinicgate:edit"    // identifier and tag: the edit it came from
	PendingSystem = "urn:clinicgate:pending" // tag: the EHR does not have it yet
	HiddenSystem  = "urn:clinicgate:hidden"  // tag: it was hidden; nothing of it is gone
)

// Mark names a change of an edit, for the EHR's index.
func (e *Edit) Mark(i int) string {
	if i == 0 {
		return e.ID
	}
	return fmt.Sprintf("%s.%d", e.ID, i)
}

// Version is what a pending change is called as a version.
func (e *Edit) Version(i int) string { return versionHead + e.Mark(i) }

const versionHead = "pending-"

// IsPending says whether a version is one of ours, which the EHR has not made yet.
func IsPending(version string) bool { return strings.HasPrefix(version, versionHead) }

// UUID makes a version 8 UUID (RFC 9562 §5.8) of a digest.
func UUID(sum []byte) string {
	x := hex.EncodeToString(sum)
	return strings.Join([]string{x[:8], x[8:12], "8" + x[13:16], "8" + x[17:20], x[20:32]}, "-")
}

// Action is what the trail calls a change.
func (c Change) Action() string {
	switch {
	case c.New:
		return "create"
	case c.Hide:
		return "delete"
	}
	return "update"
}
