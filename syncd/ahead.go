package main

import (
	"fmt"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/prefetch"
	"clinicgate/syncd/warm"
)

// quietFor is how long nobody must have read before the line counts as spare.
const quietFor = 2 * time.Second

// prefetch is the task that fetches records ahead, if the site wants it.
func (s *state) prefetch() []daemon.Task {
	w := s.cfg.Warm
	if w == nil {
		return nil
	}
	policy := warm.Default(s.cfg.Cache.Bytes / 100 * int64(w.Share))
	policy.Sweep = w.Sweep
	records := s.reader(0)
	records.Source = s.ehr.Aside()
	s.ahead = prefetch.New(prefetch.Options{
		Records: records, Policy: policy, Base: s.cfg.EHR.Base.String(), Panel: w.Panel, Pinned: w.Pinned,
		Down: s.awayNow, Busy: s.lineBusy, Keep: s.cache.Keep, Log: s.env.Log,
	})
	return []daemon.Task{{Name: "records ahead", Run: s.ahead.Run}}
}

// awayNow says why nothing can be fetched now.
func (s *state) awayNow(now time.Time) string {
	if s.standby.Load() {
		return "the other box of the pair serves the clinic"
	}
	return s.ehr.Down(now)
}

// lineBusy says whether somebody waits for the line: a person who reads, or an upload
// that is not bulk.
func (s *state) lineBusy() bool {
	if time.Since(time.Unix(0, s.lastRead.Load())) < quietFor {
		return true
	}
	for _, l := range s.queue.Lanes() {
		if l.Name != lane.Bulk.String() && l.Waiting > 0 {
			return true
		}
	}
	return false
}

// aheadFaults says what of the coming days can't be had.
func (s *state) aheadFaults() (faults []wire.Fault) {
	if s.ahead == nil {
		return nil
	}
	st := s.ahead.Status()
	if _, lost := s.ehr.Status(); st.Trouble != "" && lost == "" {
		faults = append(faults, wire.Fault{
			Severity: wire.Warning, Where: "lists", What: st.Trouble,
			Do: "have the EHR let the gateway list Appointment, Encounter and Patient; records are fetched when they are asked for meanwhile",
		})
	}
	if st.Over > 0 {
		faults = append(faults, wire.Fault{
			Severity: wire.Warning, Where: "room", What: fmt.Sprintf("there is no room in the cache for %d of %d patients", st.Over, st.Wanted),
			Do: "raise sync.cache.size_mb or sync.warm.share in the site file, or make the panel smaller",
		})
	}
	return faults
}

// gaugeAhead shows how far it is.
func (s *state) gaugeAhead() {
	if s.ahead == nil {
		return
	}
	st := s.ahead.Status()
	s.metrics.Gauge(metricWanted, "Patients whose records shall be here before they are asked for.").Set(float64(st.Wanted))
	s.metrics.Gauge(metricAhead, "Those of them whose records are here.").Set(float64(st.Held))
	s.metrics.Gauge(metricFetched, "Bytes fetched ahead since the start.").Set(float64(st.Bytes))
}
