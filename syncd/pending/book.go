package pending

import (
	"cmp"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
)

// A Book is all edits of a box: those under way, and the names that those done have
// got at the EHR. It belongs to one goroutine at a time; readers may share it.
type Book struct {
	base    string // the EHR's URL
	edits   map[string]*Edit
	open    map[fhir.Ref][]*Edit  // of each patient, by the name that holds now, in their order
	made    map[fhir.Ref]place    // by the id that holds here
	named   map[fhir.Ref]fhir.Ref // from the EHR's name back to that id
	version map[string]place      // by pending version
	touched map[fhir.Ref][]place  // open changes of a resource, by the name they use
	seq     uint64
}

// A place is a change of an edit.
type place struct {
	e *Edit
	i int
}

func (p place) change() *Change { return &p.e.Changes[p.i] }

// NewBook returns an empty book. base is the EHR's URL, for absolute references.
func NewBook(base string) *Book {
	return &Book{
		base: base, edits: map[string]*Edit{}, open: map[fhir.Ref][]*Edit{}, made: map[fhir.Ref]place{},
		named: map[fhir.Ref]fhir.Ref{}, version: map[string]place{}, touched: map[fhir.Ref][]place{},
	}
}

// Put notes how an edit stands now, in place of what was noted before.
func (b *Book) Put(e Edit) {
	b.Forget(e.ID)
	e.Changes = slices.Clone(e.Changes)
	b.seq = max(b.seq, e.Seq)
	b.edits[e.ID] = &e
	for i := range e.Changes {
		c, p := &e.Changes[i], place{&e, i}
		b.version[e.Version(i)] = p
		if e.State.Open() {
			b.touched[c.Ref] = append(b.touched[c.Ref], p)
		}
		if !c.New {
			continue
		}
		b.made[c.Ref] = p
		if e.State == Done && c.At != (fhir.Ref{}) {
			b.named[c.At] = c.Ref
			b.rename(c.Ref, c.At)
		}
	}
	if e.State.Open() {
		b.enqueue(b.Now(e.Patient), &e)
	}
}

func bySeq(x, y *Edit) int { return cmp.Or(cmp.Compare(x.Seq, y.Seq), cmp.Compare(x.ID, y.ID)) }

func (b *Book) enqueue(patient fhir.Ref, all ...*Edit) {
	b.open[patient] = append(b.open[patient], all...)
	slices.SortFunc(b.open[patient], bySeq)
}

// rename joins the queues of a patient who has got another name.
func (b *Book) rename(from, to fhir.Ref) {
	if moved := b.open[from]; len(moved) > 0 {
		delete(b.open, from)
		b.enqueue(to, moved...)
	}
}

// Forget drops an edit.
func (b *Book) Forget(id string) {
	e := b.edits[id]
	if e == nil {
		return
	}
	delete(b.edits, id)
	for patient, all := range b.open {
		if !e.State.Open() {
			break
		}
		if all = slices.DeleteFunc(all, func(x *Edit) bool { return x == e }); len(all) == 0 {
			delete(b.open, patient)
		} else {
			b.open[patient] = all
		}
	}
	for i, c := range e.Changes {
		delete(b.version, e.Version(i))
		if c.New {
			delete(b.made, c.Ref)
			delete(b.named, c.At)
		}
		if all := slices.DeleteFunc(b.touched[c.Ref], func(p place) bool { return p.e == e }); len(all) == 0 {
			delete(b.touched, c.Ref)
		} else {
			b.touched[c.Ref] = all
		}
	}
}

// NextSeq is the number of the next edit.
func (b *Book) NextSeq() uint64 { return b.seq + 1 }

// Get returns an edit.
func (b *Book) Get(id string) (Edit, bool) {
	e := b.edits[id]
	if e == nil {
		return Edit{}, false
	}
	return *e, true
}

// All returns the edits that a filter wants, in their order.
func (b *Book) All(want func(*Edit) bool) []Edit {
	var found []*Edit
	for _, e := range b.edits {
		if want(e) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, bySeq)
	return values(found)
}

func values(all []*Edit) []Edit {
	out := make([]Edit, len(all))
	for i, e := range all {
		out[i] = *e
	}
	return out
}

// Now is what a resource is called now: at the EHR, if it got a name there.
func (b *Book) Now(ref fhir.Ref) fhir.Ref {
	if p, ok := b.made[ref]; ok && p.change().At != (fhir.Ref{}) {
		return p.change().At
	}
	return ref
}

// IsMade says whether a resource was made here and has no other name yet; lost, that
// the EHR did not take it.
func (b *Book) IsMade(ref fhir.Ref) (made, lost bool) {
	p, ok := b.made[ref]
	if !ok || p.e.State == Done {
		return false, false
	}
	return p.e.State.Open(), !p.e.State.Open()
}

// Queue are the open edits of a patient, first come first. Whatever name the patient
// had when they were made, it is one queue.
func (b *Book) Queue(patient fhir.Ref) []Edit { return values(b.open[b.Now(patient)]) }

// Patients are those who have open edits, by the oldest of them.
func (b *Book) Patients() []fhir.Ref {
	all := make([]fhir.Ref, 0, len(b.open))
	for p := range b.open {
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y fhir.Ref) int { return bySeq(b.open[x][0], b.open[y][0]) })
	return all
}

// Old are the finished edits whose names nobody needs any more.
func (b *Book) Old(now time.Time, keep time.Duration) (ids []string) {
	for _, e := range b.edits {
		if !e.State.Open() && (e.State != Clashed || e.Settled) && now.Sub(e.Ended) > keep {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Len is how many edits are under way.
func (b *Book) Len() (n int) {
	for _, all := range b.open {
		n += len(all)
	}
	return n
}
