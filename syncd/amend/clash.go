package amend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
)

// clash ends an edit that the EHR does not take: nothing is overwritten, and a Task with
// both versions goes the way of all edits.
//
//	stop before the journal has both: the edit is sent again, refused again, and its Task
//	    is the same one
func (d *Desk) clash(ctx context.Context, e pending.Edit, changes []fhir.Change, status int, why string) error {
	if status == http.StatusPreconditionFailed || status == http.StatusConflict {
		why = "the record was changed at the EHR meanwhile"
	}
	e.State, e.Status, e.Why, e.Ended = pending.Clashed, status, why, time.Now().UTC()
	all := []pending.Edit{e}
	if e.Of == "" {
		theirs, err := d.theirs(ctx, changes)
		if err != nil {
			return err // with both versions, or later
		}
		task := d.task(e, changes, theirs)
		all[0].Task = task.Changes[0].Ref
		all = []pending.Edit{task, all[0]}
	}
	if err := d.put(true, all...); err != nil {
		return err
	}
	d.Log.Warn("a change clashes with the EHR", "status", status, "resources", len(e.Changes))
	d.traced(e, fmt.Sprintf("failed: clash, status %d", status))
	return nil
}

// theirs are the versions at the EHR of what was to be changed; nil for what is not there.
func (d *Desk) theirs(ctx context.Context, changes []fhir.Change) ([][]byte, error) {
	out := make([][]byte, len(changes))
	for i, c := range changes {
		if c.Ref.ID == "" {
			continue
		}
		a, _, err := d.EHR.Ask(ctx, c.Ref, "")
		var no *fhir.Refusal
		if err != nil && !errors.As(err, &no) {
			return nil, fmt.Errorf("ask for the EHR's version: %w", err)
		}
		out[i] = a.Body
	}
	return out, nil
}

// task is the edit that tells of a clash. Its ids are made of the other's, so that it is
// the same however often it is made.
func (d *Desk) task(e pending.Edit, changes []fhir.Change, theirs [][]byte) pending.Edit {
	patient, known := d.nameOf(e.Patient)
	t := pending.Clash{Edit: e, When: time.Now().UTC(), Theirs: theirs}
	own := slices.ContainsFunc(e.Changes, func(c pending.Change) bool { return c.Ref == e.Patient && c.New })
	if known && !own { // else the EHR has no such patient
		t.Patient = patient
	}
	if len(changes) > 0 {
		t.Focus = changes[0].Ref
	}
	edit := t.Task()
	d.mu.Lock()
	defer d.mu.Unlock()
	edit.Seq = d.seq
	d.seq++
	return edit
}

// nameOf is a resource's name at the EHR, if it has one or will.
func (d *Desk) nameOf(ref fhir.Ref) (fhir.Ref, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, lost := d.Book.IsMade(ref)
	return d.Book.Now(ref), !lost
}

// settle ends a clash whose Task a doctor has closed.
func (d *Desk) settle(done pending.Edit) {
	d.mu.RLock()
	var settled []pending.Edit
	for _, e := range d.Book.All(func(e *pending.Edit) bool { return e.State == pending.Clashed && !e.Settled }) {
		if slices.ContainsFunc(done.Changes, func(c pending.Change) bool {
			return c.Closes && d.Book.Now(c.Ref) == d.Book.Now(e.Task)
		}) {
			e.Settled = true
			settled = append(settled, e)
		}
	}
	d.mu.RUnlock()
	for _, e := range settled {
		if err := d.put(true, e); err != nil {
			d.Log.Error("that a clash is settled could not be noted", "err", err)
		}
	}
}
