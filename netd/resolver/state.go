package resolver

import (
	"fmt"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/resolver/upstream"
)

// IDs lists every fault this package can state.
func IDs() []string {
	return []string{"dns.down", "dns.store", "dns.no-server", "dns.silent", "dns.stale"}
}

// lasting is how long after it was last seen a trouble is told of.
const lasting = 2 * time.Minute

// State returns what the wire file says, and what is wrong.
func (s *Server) State() (*wire.DNS, []wire.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &wire.DNS{
		Answers: s.open[four], Hits: s.count.hits, Asked: s.count.asked, Local: s.count.local,
		Stale: s.count.stale, Refused: s.count.rebinds, Limited: s.count.limited, Servers: []wire.NameServer{},
	}
	w.Names, w.Bytes = s.cache.Size()
	for _, k := range s.known() {
		answers, failures, inRow := s.records.Counts(k)
		n := wire.NameServer{Address: k.Addr.String(), Answers: answers, Failures: failures, InRow: inRow, RTTMS: float64(s.records.RTT(k).Round(10*time.Microsecond)) / float64(time.Millisecond)}
		if k.Way != upstream.Routed {
			n.Via = s.ways[k.Way].Name
		}
		w.Servers = append(w.Servers, n)
	}
	return w, s.faults()
}

// faults says what is wrong. The lock is held.
func (s *Server) faults() []wire.Fault {
	var faults []wire.Fault
	add := func(id string, sev wire.Severity, what, do string) {
		faults = append(faults, wire.Fault{ID: id, Severity: sev, Where: "netd", What: what, Do: do})
	}
	now := s.now()
	lately := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < lasting }
	if s.broken[four] != "" {
		add("dns.down", wire.Alarm, "devices can't look up names: "+s.broken[four], "send this line to support")
	}
	if s.broken[six] != "" {
		add("dns.down", wire.Warning, "devices can't look up names by IPv6: "+s.broken[six], "send this line to support")
	}
	if s.unsaved != "" {
		add("dns.store", wire.Warning, "names that are known would be forgotten by a restart: "+s.unsaved, "see how full the data partition is")
	}
	if lately(s.lacking) && s.usable() {
		add("dns.no-server", wire.Warning, "a device asked for a name, and no name server is known", "enter one in the site file (net.dns.upstream): no provider in use names one")
	}
	if lately(s.silent) && s.usable() {
		add("dns.silent", wire.Warning, "no name server answers, though a provider can be used", "enter other name servers in the site file (net.dns.upstream), or tell the provider")
	}
	if lately(s.staleAt) {
		add("dns.stale", wire.Note, fmt.Sprintf("devices get old answers to names, up to %v old", s.cfg.DNS.MaxStale), "nothing: it ends when a name server answers again")
	}
	return faults
}
