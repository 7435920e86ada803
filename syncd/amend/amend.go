// Package amend brings changes of records to the EHR. Its one guarantee: a change that
// Make returned without an error for is at the EHR, or durable here and on its way
// there; it is made there exactly once, in its patient's order, and never over a version
// its author did not see.
package amend

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/trail"
)

// EHR takes changes and answers questions; *upstream.Client does. Write's and
// Transact's errors are *fhir.Refusal when the change was not made, anything else when
// nobody knows.
type EHR interface {
	Write(ctx context.Context, ch fhir.Change) (fhir.Written, error)
	Transact(ctx context.Context, bundle []byte) ([]byte, error)
	Ask(ctx context.Context, q fhir.Query, etag string) (a fhir.Answer, changed bool, err error)
	Down(now time.Time) string
}

// Journal makes edits durable as they stand; *journal.Journal does.
type Journal interface {
	Put(final bool, edits ...pending.Edit) error
	Forget(id string)
}

// Trail makes accesses durable; *trail.Trail does.
type Trail interface {
	Append(e trail.Entry) error
}

// Options of a desk. All but Wrote and AuthorWaits are required.
type Options struct {
	Book    *pending.Book // with what the journal had
	Journal Journal
	EHR     EHR
	Trail   Trail
	Base    string // the EHR's URL
	Log     *slog.Logger
	Wrote   func(patient fhir.Ref, w fhir.Written) // told what the EHR has now
	// AuthorWaits is how long an author waits for the EHR's word at most; then the change
	// goes on by itself.
	AuthorWaits time.Duration
}

// A Desk takes changes and brings them to the EHR. Safe for concurrent use.
type Desk struct {
	Options
	nudge chan struct{}

	mu    sync.RWMutex // guards the book and the next three
	seq   uint64
	turns map[fhir.Ref]chan struct{} // held while something of a patient is on its way
	later map[fhir.Ref]rest          // patients whose edits wait after a failure
}

// New returns a desk. Run must be running for what waits to be delivered.
func New(o Options) *Desk {
	if o.AuthorWaits == 0 {
		o.AuthorWaits = 15 * time.Second
	}
	return &Desk{
		Options: o, nudge: make(chan struct{}, 1), seq: o.Book.NextSeq(),
		turns: map[fhir.Ref]chan struct{}{}, later: map[fhir.Ref]rest{},
	}
}

// An Outcome is what became of an edit. Written is empty while it is on its way.
type Outcome struct {
	Edit    pending.Edit
	Written []fhir.Written
}

// ErrBusy is an edit that was not taken: too much waits already.
var ErrBusy = errors.New("too many changes wait for the EHR")

// maxOpen bounds the edits under way, which are held in memory.
const maxOpen = 20000

// patience is how long an author waits for the change of the same patient before.
const patience = 5 * time.Second

// Make makes an edit: at the EHR when it can be reached and nothing of the patient waits
// before it, else here. The error is a *fhir.Refusal when the EHR said no: then nothing
// was changed. Any other error says that it was not taken.
//
//	stop before the journal has it: it was never made, its author heard nothing
//	stop behind that: it is delivered by the next run; its author heard nothing, and by
//	    the same Idempotency-Key makes it no second time
func (d *Desk) Make(ctx context.Context, e pending.Edit) (Outcome, error) {
	if old, ok := d.known(e.ID); ok {
		return Outcome{Edit: old}, nil // the same request once more
	}
	inTime, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	release := d.turn(inTime, e.Patient)
	d.mu.Lock()
	e.Seq, e.State = d.seq, pending.Waiting
	d.seq++
	free := release != nil && d.EHR.Down(time.Now()) == "" && len(d.Book.Queue(e.Patient)) == 0
	full := d.Book.Len() >= maxOpen
	d.mu.Unlock()
	defer func() {
		if release != nil {
			release()
		}
	}()
	if full {
		return Outcome{}, ErrBusy
	}
	if free {
		e.State, e.Tries = pending.Sent, 1
	}
	if err := d.put(false, e); err != nil {
		return Outcome{}, err
	}
	if !free {
		d.Nudge()
		return Outcome{Edit: e}, nil
	}
	w := &waiting{done: make(chan answer, 1)}
	inside := release
	release = nil // whoever sends keeps the turn
	go func() {
		defer inside()
		d.first(context.WithoutCancel(ctx), e, w)
	}()
	late := time.NewTimer(d.AuthorWaits)
	defer late.Stop()
	select {
	case a := <-w.done:
		return a.Outcome, a.err
	case <-late.C:
	case <-ctx.Done():
	}
	return w.leave(Outcome{Edit: e})
}

// waiting is an author who waits for the EHR's word. Whoever has left hears of a refusal by
// a Task; who has not, at once, and by nothing else.
type waiting struct {
	mu   sync.Mutex
	gone bool
	done chan answer
}

type answer struct {
	Outcome
	err error
}

// leave ends the waiting, unless the answer has just come.
func (w *waiting) leave(kept Outcome) (Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case a := <-w.done:
		return a.Outcome, a.err
	default:
		w.gone = true
		return kept, nil
	}
}

// hears gives the author the answer, if he is there.
func (w *waiting) hears(a answer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		w.done <- a
	}
	return !w.gone
}

// first sends an edit whose author waits.
func (d *Desk) first(ctx context.Context, e pending.Edit, w *waiting) {
	changes, ready, err := d.outgoing(e)
	var written []fhir.Written
	if err == nil && ready {
		written, err = d.send(ctx, e, changes, nil)
	}
	var no *fhir.Refusal
	var lost *pending.Lost
	if errors.As(err, &lost) {
		err = &fhir.Refusal{Status: http.StatusConflict, Body: fhir.Failure(fhir.CodeConflict, lost.What)}
	}
	switch {
	case errors.As(err, &no):
		d.turnedDown(ctx, e, changes, no, w)
	case err != nil || !ready:
		d.Log.Warn("what became of a change is not known; it is asked for and sent again", "err", err)
		w.hears(answer{Outcome: Outcome{Edit: e}})
		d.Nudge()
	default:
		e = d.done(e, written)
		if !w.hears(answer{Outcome: Outcome{Edit: e, Written: written}}) {
			d.traced(e, "delivered")
		}
	}
}

// turnedDown tells the author of a refusal.
//
//	stop between the answer and the note: the edit is sent again, refused again, and that
//	    becomes a Task: the author hears of it twice
func (d *Desk) turnedDown(ctx context.Context, e pending.Edit, changes []fhir.Change, no *fhir.Refusal, w *waiting) {
	refused := e
	refused.State, refused.Status, refused.Ended = pending.Refused, no.Status, time.Now().UTC()
	refused.Changes = slices.Clone(e.Changes)
	for i := range refused.Changes {
		refused.Changes[i].Body = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		if err := d.clash(ctx, e, changes, no.Status, fhir.Said(no.Body)); err != nil {
			d.Log.Warn("a refused change stays until its Task can be made", "err", err)
		}
		return
	}
	d.note(refused)
	w.done <- answer{Outcome{Edit: refused}, no}
}

// put makes edits durable and then known.
func (d *Desk) put(final bool, edits ...pending.Edit) error {
	if err := d.Journal.Put(final, edits...); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range edits {
		d.Book.Put(e)
	}
	return nil
}

// note is put for what holds whether it can be made durable or not: the next run finds
// out by asking.
func (d *Desk) note(e pending.Edit) {
	err := d.put(true, e)
	if err == nil {
		return
	}
	d.Log.Error("what became of a change could not be noted", "err", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Book.Put(e)
}

func (d *Desk) known(id string) (pending.Edit, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Get(id)
}

func (d *Desk) outgoing(e pending.Edit) ([]fhir.Change, bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Outgoing(e)
}

// turn waits until nothing of a patient is on its way; nil when that takes too long.
func (d *Desk) turn(ctx context.Context, patient fhir.Ref) (release func()) {
	d.mu.Lock()
	patient = d.Book.Now(patient)
	t := d.turns[patient]
	if t == nil {
		t = make(chan struct{}, 1)
		d.turns[patient] = t
	}
	d.mu.Unlock()
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	return func() { <-t }
}

// Nudge has what waits looked at now.
func (d *Desk) Nudge() {
	d.mu.Lock()
	clear(d.later)
	d.mu.Unlock()
	select {
	case d.nudge <- struct{}{}:
	default:
	}
}
