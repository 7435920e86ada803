package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/witness"
)

// audits is the task that delivers the trail of accesses, if the site says where to.
func (s *state) audits() []daemon.Task {
	a := s.cfg.Audit
	if a == nil {
		return nil
	}
	s.witness = witness.New(witness.Options{
		Trail: s.trail, Away: s.awayNow, Busy: s.lineBusy, Keep: a.Keep, Bytes: a.Bytes, Log: s.env.Log,
		Client: func() (*deliver.Client, error) {
			for _, d := range s.cfg.Destinations {
				if d.Name == a.To {
					user, password, err := s.password(d.Auth)
					return s.httpClient(d.URL, user, password), err
				}
			}
			return nil, fmt.Errorf("there is no destination %q", a.To) // config has looked
		},
	})
	return []daemon.Task{{Name: "trail of accesses", Run: s.witness.Run}}
}

// auditWire is how far it is; nil when the trail stays here.
func (s *state) auditWire() *wire.Audit {
	if s.witness == nil {
		return nil
	}
	st := s.witness.Status()
	v := &wire.Audit{To: s.cfg.Audit.To, Chain: s.trail.Chain(), Oldest: st.Oldest, Reason: st.Reason}
	v.Records, v.Delivered = s.trail.Length()
	if st.Reason != "" {
		v.Since = st.Since.UTC().Truncate(time.Second)
	}
	return v
}

// auditFaults says that the trail does not get out, or is not the one that is there.
func (s *state) auditFaults(now time.Time) (faults []wire.Fault) {
	if s.witness == nil {
		return nil
	}
	st := s.witness.Status()
	late := !st.Oldest.IsZero() && now.Sub(st.Oldest) > s.cfg.Audit.Late
	if late && !s.standby.Load() || st.Refuse {
		what := "the trail of accesses is not delivered since " + st.Oldest.UTC().Format(time.DateTime)
		if st.Reason != "" {
			what += ": " + st.Reason
		}
		faults = append(faults, wire.Fault{
			Severity: wire.Warning, Where: s.cfg.Audit.To, What: what,
			Do: "see the destination in gatectl status, and have the EHR let the gateway write and read AuditEvent; nothing is lost meanwhile",
		})
	}
	return faults
}

// forkFault is raised once the far side has another trail under our numbers.
func (s *state) forkFault() {
	if s.witness == nil {
		return
	}
	if r := s.witness.Status().Forked; r != nil {
		s.env.Faults.Raise(wire.Fault{
			ID: faultTrail, Severity: wire.Alarm, Where: s.cfg.Audit.To,
			What: fmt.Sprintf("the EHR has another record %d than the trail here; it goes on there as %s", r.Number, s.trail.Chain()),
			Do:   "call support: this box's trail was set back, by a backup or by somebody",
		})
	}
}

// auditRoutes shows it to a technician.
func (s *state) auditRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /audit", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(wire.AuditTrail{V: 1, Audit: s.auditWire()}) // a caller that hung up
	})
}
