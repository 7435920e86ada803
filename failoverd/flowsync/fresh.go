package flowsync

import (
	"clinicgate/failoverd/flowsync/flow"
)

// batch is how many new flows go to the kernel at once.
const batch = 128

// keep takes a flow that is new to this box for the next batch. The caller holds mu.
// Stop here: it was told and is not in the kernel; the other box tells all again.
func (s *Sync) keep(f flow.Flow) bool {
	if _, known := s.got.Get(f.Key); known || !s.passing(f) {
		return false
	}
	for _, old := range s.fresh {
		if old.Key == f.Key {
			return false
		}
	}
	if s.fresh = append(s.fresh, f); len(s.fresh) == batch {
		s.putFresh()
	}
	return true
}

// settleFresh puts what was kept in place before this box waits for more.
func (s *Sync) settleFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putFresh()
}

// putFresh puts them in place by one call. Those that the kernel does not take like
// that go the long way, one by one. The caller holds mu.
func (s *Sync) putFresh() {
	if len(s.fresh) == 0 {
		return
	}
	fresh := s.fresh
	s.fresh = s.fresh[:0]
	for i, err := range s.kernel.CreateAll(fresh) {
		if err != nil {
			s.put(fresh[i])
			continue
		}
		s.counts.Put++
		s.remember(fresh[i])
	}
}
