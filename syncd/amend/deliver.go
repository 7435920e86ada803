package amend

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
)

// How often what waits is looked at, and how long a patient's edits rest after a
// failure at most.
const (
	lookEvery = 2 * time.Second
	firstRest = 2 * time.Second
	longRest  = 5 * time.Minute
	atOnce    = 4 // patients
)

// keep is how long names from here are known after the EHR gave its own.
const keep = 90 * 24 * time.Hour

// A rest is until when a patient's edits wait, and how long they did last.
type rest struct {
	until time.Time
	last  time.Duration
}

// Run delivers what waits until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		d.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-d.nudge:
		case <-tick.C:
		}
	}
}

// round goes through the patients with edits, some at once.
func (d *Desk) round(ctx context.Context) {
	if d.EHR.Down(time.Now()) != "" {
		return
	}
	d.forget(time.Now())
	d.mu.RLock()
	patients := d.Book.Patients()
	d.mu.RUnlock()
	places := make(chan struct{}, atOnce)
	var done sync.WaitGroup
	for _, p := range patients {
		if d.resting(p, time.Now()) {
			continue
		}
		places <- struct{}{}
		done.Go(func() {
			defer func() { <-places }()
			d.patient(ctx, p)
		})
	}
	done.Wait()
}

func (d *Desk) resting(p fhir.Ref, now time.Time) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return now.Before(d.later[p].until)
}

// patient brings a patient's edits to the EHR in their order, until one has to wait.
func (d *Desk) patient(ctx context.Context, p fhir.Ref) {
	release := d.turn(ctx, p)
	if release == nil {
		return
	}
	defer release()
	for ctx.Err() == nil {
		d.mu.RLock()
		queue := d.Book.Queue(p)
		d.mu.RUnlock()
		if len(queue) == 0 {
			return
		}
		if err := d.one(ctx, queue[0]); err != nil {
			if ctx.Err() == nil {
				d.Log.Info("changes wait", "edits", len(queue), "err", err)
				d.wait(p)
			}
			return
		}
		d.mu.Lock()
		delete(d.later, p)
		d.mu.Unlock()
	}
}

func (d *Desk) wait(p fhir.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.later[p]
	r.last = min(max(2*r.last, firstRest), longRest)
	r.until = time.Now().Add(r.last/2 + rand.N(r.last))
	d.later[p] = r
}

var errNotReady = errors.New("it builds on what is not made yet")

// one brings an edit to its end, or says why that can't be now.
//
//	stop before it is noted as sent: it was not sent
//	stop behind that: the next run asks the EHR for it first
//	stop before its end is noted: the same, and it is found there
func (d *Desk) one(ctx context.Context, e pending.Edit) error {
	changes, ready, err := d.outgoing(e)
	var lost *pending.Lost
	switch {
	case errors.As(err, &lost):
		return d.clash(ctx, e, nil, 0, lost.What)
	case err != nil:
		return d.clash(ctx, e, nil, 0, err.Error())
	case !ready:
		return errNotReady
	}
	var made []*fhir.Written
	if e.State == pending.Sent {
		var all bool
		if made, all, err = d.asked(ctx, e, changes); err != nil {
			return err
		}
		if all {
			d.delivered(e, values(made))
			return nil
		}
	}
	e.State = pending.Sent
	e.Tries++
	if err := d.put(true, e); err != nil {
		return err
	}
	written, err := d.send(ctx, e, changes, made)
	var no *fhir.Refusal
	switch {
	case errors.As(err, &no):
		return d.clash(ctx, e, changes, no.Status, fhir.Said(no.Body))
	case err != nil:
		return err
	}
	d.delivered(e, written)
	return nil
}

func (d *Desk) delivered(e pending.Edit, written []fhir.Written) {
	d.traced(d.done(e, written), "delivered")
}

func values(all []*fhir.Written) []fhir.Written {
	out := make([]fhir.Written, len(all))
	for i, w := range all {
		out[i] = *w
	}
	return out
}

// forget drops what nobody needs any more.
func (d *Desk) forget(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.Book.Old(now, keep) {
		d.Book.Forget(id)
		d.Journal.Forget(id)
	}
}
