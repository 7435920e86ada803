package main

import (
	"errors"

	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
)

// Names of metrics; labels come from the small sets below.
const (
	metricAsked     = "syncd_ehr_questions_total"
	metricTraced    = "syncd_accesses_traced_total"
	metricAnswers   = "syncd_cache_answers"
	metricBytes     = "syncd_cache_bytes"
	metricWaiting   = "syncd_queue_waiting"
	metricQueued    = "syncd_queue_waiting_bytes"
	metricDelivered = "syncd_queue_delivered"
	metricHeld      = "syncd_queue_held"
	metricSessions  = "syncd_sessions"
	metricWanted    = "syncd_ahead_patients_wanted"
	metricAhead     = "syncd_ahead_patients_held"
	metricFetched   = "syncd_ahead_bytes"
)

// ending names how a question to the EHR ended.
func ending(err error) string {
	var no *fhir.Refusal
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &no):
		return "refused"
	case errors.Is(err, fhir.ErrForeign):
		return "wrong-record"
	case errors.Is(err, fhir.ErrNonsense):
		return "nonsense"
	case errors.Is(err, fhir.ErrUnreachable):
		return "unreachable"
	}
	return "failed"
}

func (s *state) countAsked(err error) {
	s.metrics.Counter(metricAsked, "Questions to the EHR, by how they ended.", "end", ending(err)).Inc()
}

func (s *state) countTraced(err error) {
	end := "kept"
	if err != nil {
		end = "lost"
	}
	s.metrics.Counter(metricTraced, "Entries of the trail of accesses; one that is lost was not answered.", "end", end).Inc()
}

// gauge shows what was published in numbers.
func gauge(m *metric.Set, v *wire.Sync, sessions int) {
	m.Gauge(metricAnswers, "Answers of the EHR in the cache.").Set(float64(v.Cache.Resources))
	m.Gauge(metricBytes, "Bytes of answers in the cache, on disk.").Set(float64(v.Cache.Bytes))
	m.Gauge(metricHeld, "Uploads set aside for a person.").Set(float64(v.Held))
	m.Gauge(metricSessions, "Live card sessions.").Set(float64(sessions))
	for _, l := range v.Lanes {
		m.Gauge(metricWaiting, "Uploads that wait.", "lane", l.Name).Set(float64(l.Waiting))
		m.Gauge(metricQueued, "Bytes of uploads that wait.", "lane", l.Name).Set(float64(l.Bytes))
		m.Gauge(metricDelivered, "Uploads delivered since the store was made.", "lane", l.Name).Set(float64(l.Delivered))
	}
}
