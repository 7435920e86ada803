package amend

import (
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
)

// Now is what a resource is called now: at the EHR, if it got a name there.
func (d *Desk) Now(ref fhir.Ref) fhir.Ref {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Now(ref)
}

// IsMade says whether a resource was made here and is not at the EHR yet; lost, that the
// EHR did not take it.
func (d *Desk) IsMade(ref fhir.Ref) (made, lost bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.IsMade(ref)
}

// Of returns what is pending of one resource.
func (d *Desk) Of(ref fhir.Ref) (pending.View, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Of(ref)
}

// Views are what is pending of a patient.
func (d *Desk) Views(patient fhir.Ref) []pending.View {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Views(patient)
}

// ViewsOf are the pending resources of a type.
func (d *Desk) ViewsOf(typ string) []pending.View {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.ViewsOf(typ)
}

// Current turns references to names from before into those that hold now.
func (d *Desk) Current(body []byte) ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.Current(body)
}

// A Count is how much is under way.
type Count struct {
	Waiting int
	Oldest  time.Time // of them
	Clashes int
}

// Count counts.
func (d *Desk) Count() (c Count) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.Book.All(func(e *pending.Edit) bool { return e.State.Open() || e.State == pending.Clashed && !e.Settled }) {
		if !e.State.Open() {
			c.Clashes++
			continue
		}
		c.Waiting++
		if c.Oldest.IsZero() || e.When.Before(c.Oldest) {
			c.Oldest = e.When
		}
	}
	return c
}

// List returns the edits under way, or those that clashed and are not settled.
func (d *Desk) List(clashed bool) []pending.Edit {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.Book.All(func(e *pending.Edit) bool {
		if clashed {
			return e.State == pending.Clashed && !e.Settled
		}
		return e.State.Open()
	})
}
