package main

import (
	"encoding/json"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/queue"
)

// alarmStays is how long an EHR's wrong record is shown after the last one.
const alarmStays = time.Hour

// lostAfter is how long the EHR may be silent before a person is told: a failover
// or a boot is not worth a line.
const lostAfter = 10 * time.Second

// report publishes syncd.json and states the faults that are looked at, not
// noticed.
func (s *state) report(now time.Time) {
	where := s.cfg.EHR.Base.Host
	contact, wrong := s.ehr.Status()
	standby := s.standby.Load()
	if wrong == "" || standby { // the tunnel is the other box's: as it should be
		s.env.Faults.Clear(faultLost, where)
	} else if now.Sub(contact) > lostAfter && now.Sub(s.started) > lostAfter {
		s.env.Faults.Raise(wire.Fault{
			ID: faultLost, Severity: wire.Warning, Where: where, What: wrong,
			Do: "see the uplinks and tunnels; records read before are shown meanwhile and marked as old",
		})
	}
	s.mu.Lock()
	old := !s.strict.IsZero() && now.Sub(s.strict) > alarmStays
	s.mu.Unlock()
	if old {
		s.env.Faults.Clear(faultForeign, where)
	}
	s.deliver.Report(s.env.Faults)
	held := s.queue.List(queue.Held)
	s.env.Faults.Keep(faultHeld, heldFaults(held)...)
	n, bytes := s.cache.Stats()
	v := &wire.Sync{
		Lanes: s.queue.Lanes(), Held: len(held), Destinations: append([]wire.Destination{}, s.deliver.Destinations()...),
		Cache: wire.Cache{Resources: n, Bytes: bytes, LastContact: contact.UTC().Truncate(time.Second)},
		Disk:  disk(s.env.State), Keys: s.vault.State(), Mirror: s.pair.wire(now), Audit: s.auditWire(),
	}
	if f := holds(standby && !kept(v.Mirror), v.Lanes); f != nil {
		s.env.Faults.Raise(*f)
	} else {
		s.env.Faults.Clear(faultHolds, "queue")
	}
	for id, faults := range alarms(v, s.queue.Newest(), now, s.cfg.Queue.StatLate) {
		s.env.Faults.Keep(id, faults...)
	}
	s.env.Faults.Keep(faultAudit, s.auditFaults(now)...)
	s.forkFault()
	s.env.Faults.Keep(faultLogin, s.loginFaults(now)...)
	s.env.Faults.Keep(faultOrders, s.ordersFaults()...)
	s.env.Faults.Keep(faultTrustee, s.keys.faults(now)...)
	s.env.Faults.Keep(faultAhead, s.aheadFaults()...)
	v.Edits = s.editsReport(now)
	if err := s.env.Publish(wire.SyncFile, v); err != nil {
		s.env.Log.Error("publish", "err", err)
	}
	gauge(&s.metrics, v, s.roster.Load().Sessions())
	s.gaugeAhead()
	s.shown.Store(v)
}

// disk is the room of the file system dir is on, in whole MiB so that the file
// does not change all the time.
func disk(dir string) wire.Disk {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return wire.Disk{}
	}
	mib := func(blocks uint64) int64 { return int64(blocks) * st.Bsize >> 20 << 20 }
	return wire.Disk{Total: mib(st.Blocks), Free: mib(st.Bavail)}
}

// control is the mux of the control socket.
func (s *state) control() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.shown.Load()) // a caller that hung up
	})
	mux.Handle("GET /metrics", &s.metrics)
	s.queueRoutes(mux)
	s.consultRoutes(mux)
	s.editsRoutes(mux)
	s.pair.routes(mux)
	s.accessRoutes(mux)
	s.keyRoutes(mux)
	s.auditRoutes(mux)
	return mux
}
