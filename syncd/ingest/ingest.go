// Package ingest is the door of syncd: what a device sends becomes an item of the
// queue here, whichever protocol brought it. Its guarantee: a receipt means that
// the whole upload was sound by its format's rules and is durable, byte for byte;
// a Refusal means that nothing of it was kept, and says why in words without
// patient data.
//
// The patient an upload names is kept with it as it came. Whether that is one the
// record knows is asked before it is sent, not here: care does not wait.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/queue"
)

// Accepter keeps items. Accept reads body to its end and returns only after the
// item is durable; a failed read of body leaves nothing behind. Safe for
// concurrent use. *queue.Queue is one.
type Accepter interface {
	Accept(ctx context.Context, it queue.Item, body io.Reader) (queue.Receipt, error)
}

// Faults takes notice of what a person should know; *daemon.Faults does.
type Faults interface {
	Raise(wire.Fault)
	Clear(id, where string) bool
}

// Door lets uploads in. Safe for concurrent use.
type Door struct {
	queue  Accepter
	faults Faults
	whole  chan struct{} // held by the one file that is in memory as a whole

	mu    sync.Mutex
	named map[string]bool // senders a fault may have named
}

// New returns the door to q.
func New(q Accepter, f Faults) *Door {
	return &Door{queue: q, faults: f, whole: make(chan struct{}, 1), named: map[string]bool{}}
}

// maxNamed bounds the senders that faults name: an AE title is whatever its sender
// says, and a new one each time must not fill memory and the status page.
const maxNamed = 64

// where names a sender in faults.
func (d *Door) where(origin string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.named[origin] && len(d.named) >= maxNamed {
		return "other senders"
	}
	d.named[origin] = true
	return origin
}

// Reason sorts refusals by what the sender can do about them.
type Reason int

// The reasons.
const (
	Malformed   Reason = iota + 1 // not sound by its format's rules; sending again is useless
	Mismatch                      // content and announcement differ
	Unsupported                   // sound perhaps, but not taken here
	Conflict                      // the same identity came before with other content
	Full                          // no room now; send again later
	Failed                        // our failure or the connection's; send again
)

func (r Reason) String() string {
	return [...]string{"", "malformed", "mismatch", "unsupported", "conflict", "full", "failed"}[r]
}

// Refusal is the error of everything that was not let in.
type Refusal struct {
	Reason Reason
	What   string // one sentence, no patient data, for the sender and the log
	Err    error  // the cause, when it is another part's
}

// Error says it for the log, and what went wrong here if it was not the sender.
func (r *Refusal) Error() string {
	if r.Err != nil && !r.Permanent() {
		return fmt.Sprintf("refused, %v: %s: %v", r.Reason, r.What, r.Err)
	}
	return fmt.Sprintf("refused, %v: %s", r.Reason, r.What)
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Permanent tells whether sending the same again can never succeed.
func (r *Refusal) Permanent() bool { return r.Reason < Full }

// Faults raised here, and where: the sender.
const (
	faultConflict = "ingest.conflict" // an alarm; stands until a restart, for a person must look
	faultShare    = "ingest.share"    // over with the sender's next upload that finds room
	faultRefused  = "ingest.refused"  // over with the sender's next good upload
)

// accept hands an item over and sorts what may come back.
func (d *Door) accept(ctx context.Context, it queue.Item, body io.Reader) (queue.Receipt, error) {
	receipt, err := d.queue.Accept(ctx, it, body)
	var conflict *queue.Conflict
	switch {
	case err == nil:
		d.faults.Clear(faultRefused, d.where(it.Origin))
		d.faults.Clear(faultShare, d.where(it.Origin))
		return receipt, nil
	case errors.As(err, &conflict):
		d.faults.Raise(wire.Fault{
			ID: faultConflict, Severity: wire.Alarm, Where: d.where(it.Origin),
			What: fmt.Sprintf("sent %s under the identity of item %v, but with other content; refused", it.Kind, conflict.ID),
			Do:   "compare the recording on the device with item " + conflict.ID.String() + "; the first one is kept and unchanged",
		})
		return queue.Receipt{}, &Refusal{Conflict, "the same identity came before with other content", err}
	case errors.Is(err, queue.ErrShare):
		d.faults.Raise(wire.Fault{
			ID: faultShare, Severity: wire.Alarm, Where: d.where(it.Origin),
			What: "its uploads fill its share of the room for what is not delivered; more is refused, other devices' are not",
			Do:   "see in gatectl status why nothing leaves, and in gatectl queue held what waits for a person; the device keeps its recordings meanwhile",
		})
		return queue.Receipt{}, &Refusal{Full, "no room for more of this device's uploads", err}
	case errors.Is(err, queue.ErrFull):
		return queue.Receipt{}, &Refusal{Full, "no room for uploads", err}
	case errors.Is(err, queue.ErrInvalid):
		return queue.Receipt{}, d.refuse(it.Origin, Malformed, "the description is over the limits", err)
	}
	return queue.Receipt{}, &Refusal{Failed, "the upload could not be kept", err}
}

// refuse makes a Refusal that someone should see: the device or its set-up is
// wrong, and will be wrong again.
func (d *Door) refuse(origin string, r Reason, what string, err error) error {
	d.faults.Raise(wire.Fault{
		ID: faultRefused, Severity: wire.Warning, Where: d.where(origin), What: fmt.Sprintf("upload refused, %v: %s", r, what),
		Do: "check the device's software and settings; nothing of the upload was kept",
	})
	return &Refusal{r, what, err}
}
