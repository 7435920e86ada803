package daemon

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/wire"
)

// Faults is the set of what is wrong now. Raising a fault that stands already
// keeps its time and logs nothing unless its words changed; so callers state what
// they see as often as they see it. Safe for concurrent use.
type Faults struct {
	log *slog.Logger

	mu  sync.Mutex
	set map[faultKey]wire.Fault
}

type faultKey struct{ id, where string }

// NewFaults returns an empty set that logs changes to log.
func NewFaults(log *slog.Logger) *Faults {
	return &Faults{log: log, set: map[faultKey]wire.Fault{}}
}

// Raise states a fault. Since is filled in here.
func (f *Faults) Raise(fault wire.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := faultKey{fault.ID, fault.Where}
	old, standing := f.set[key]
	fault.Since = time.Now().UTC().Truncate(time.Millisecond)
	if standing {
		fault.Since = old.Since
	}
	f.set[key] = fault
	if old != fault {
		f.log.Warn("fault", "id", fault.ID, "where", fault.Where, "what", fault.What, "do", fault.Do)
	}
}

// Clear ends a fault and reports whether it stood.
func (f *Faults) Clear(id, where string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, standing := f.set[faultKey{id, where}]
	if standing {
		delete(f.set, faultKey{id, where})
		f.log.Info("fault over", "id", id, "where", where, "lasted", time.Since(old.Since).Round(time.Millisecond))
	}
	return standing
}

// Keep states the whole truth about one ID: the given faults stand, all others
// with that ID are over.
func (f *Faults) Keep(id string, faults ...wire.Fault) {
	for _, old := range f.List() {
		gone := func(n wire.Fault) bool { return n.Where == old.Where }
		if old.ID == id && !slices.ContainsFunc(faults, gone) {
			f.Clear(id, old.Where)
		}
	}
	for _, n := range faults {
		n.ID = id
		f.Raise(n)
	}
}

// List returns the standing faults, alarms first, then by age.
func (f *Faults) List() []wire.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []wire.Fault
	for _, x := range f.set {
		all = append(all, x)
	}
	rank := map[wire.Severity]int{wire.Alarm: 0, wire.Warning: 1, wire.Note: 2}
	slices.SortFunc(all, func(a, b wire.Fault) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.Since.Compare(b.Since),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Where, b.Where))
	})
	return all
}
