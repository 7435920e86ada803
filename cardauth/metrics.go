package main

import (
	"clinicgate/cardauth/session"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
)

// Names of metrics; labels come from small sets: states, roles, reasons.
const (
	metricReaders  = "cardauth_readers"
	metricSessions = "cardauth_sessions"
	metricBegun    = "cardauth_sessions_begun_total"
	metricEnded    = "cardauth_sessions_ended_total"
	metricRevoked  = "cardauth_revoked_cards"
	metricSpool    = "cardauth_audit_waiting"
)

// gauge shows what was published in numbers.
func gauge(m *metric.Set, c *wire.Card, waiting int) {
	readers, sessions := map[string]int{}, map[string]int{}
	for _, r := range c.Readers {
		readers[r.State]++
	}
	for _, s := range c.Sessions {
		sessions[s.Role]++
	}
	for _, state := range []string{wire.ReaderEmpty, wire.ReaderCard, wire.ReaderSession, wire.ReaderFault} {
		m.Gauge(metricReaders, "Card readers, by state.", "state", state).Set(float64(readers[state]))
	}
	for _, role := range []string{wire.RoleDoctor, wire.RoleNurse, wire.RoleStaff, wire.RolePatient} {
		m.Gauge(metricSessions, "Live sessions, by role.", "role", role).Set(float64(sessions[role]))
	}
	m.Gauge(metricRevoked, "Cards known to be revoked.").Set(float64(c.Trust.Distrust))
	m.Gauge(metricSpool, "Events that wait to be taken over into the trail.").Set(float64(waiting))
}

// count counts beginnings and ends of sessions.
func count(m *metric.Set, events []session.Event) {
	for _, e := range events {
		switch {
		case e.Care != nil:
		case e.Ended != "":
			m.Counter(metricEnded, "Sessions that ended, by why.", "why", string(e.Ended)).Inc()
		default:
			m.Counter(metricBegun, "Sessions that began, by role.", "role", e.Session.Role).Inc()
		}
	}
}
