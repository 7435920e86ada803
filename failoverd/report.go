package main

import (
	"sync"
	"time"

	"clinicgate/failoverd/config"
	"clinicgate/failoverd/vrrp"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
)

// Metric names.
const (
	metricSent     = "failoverd_adverts_sent_total"
	metricReceived = "failoverd_adverts_received_total"
	metricRefused  = "failoverd_adverts_refused_total"
	metricChanges  = "failoverd_role_changes_total"
	metricMaster   = "failoverd_master"
)

// seenStep is how fine failoverd.json tells when the other box was last heard:
// the file must not be written for every advertisement.
const seenStep = 10 * time.Second

// A report is failoverd.json and the figures, filled by all groups.
type report struct {
	env     *daemon.Env
	metrics *metric.Set
	flows   *flows    // nil: connections are not passed on
	ident   *identity // nil: there are no groups

	mu     sync.Mutex
	groups []wire.Group
	seen   []time.Time // when each group's peer was last told of: a wire file's times jump with the clock
	flaws  []wire.Flaw
	cable  *wire.Cable
}

func newReport(env *daemon.Env, metrics *metric.Set, cfg config.Config) *report {
	r := &report{env: env, metrics: metrics, groups: []wire.Group{}, seen: make([]time.Time, len(cfg.Groups))}
	for _, g := range cfg.Groups {
		w := wire.Group{
			Name: g.Name, VRID: int(g.VRID), Port: g.Port, Role: wire.RoleInit, Reason: "failoverd starts",
			Since: stamp(time.Now()), Priority: int(g.Priority), Basis: int(g.Priority),
		}
		for _, a := range g.Addresses {
			w.Addresses = append(w.Addresses, a.String())
		}
		r.groups = append(r.groups, w)
	}
	return r
}

// show takes over what a router says of itself and publishes it if it changed.
func (r *report) show(i int, s vrrp.Status, priority uint8) {
	r.mu.Lock()
	g := &r.groups[i]
	g.Priority = int(priority)
	if role := roles[s.State]; g.Role != role {
		r.metrics.Counter(metricChanges, "Changes of role.", "group", g.Name, "to", role).Inc()
		r.env.Log.Info("role", "group", g.Name, "was", g.Role, "now", role, "why", s.Reason)
		g.Role = role
		if r.flows != nil && role != wire.RoleMaster {
			r.flows.Yield(g.Name)
		}
	}
	master := r.metrics.Gauge(metricMaster, "1 while this box has the group's addresses.", "group", g.Name)
	master.Set(0)
	if s.State == vrrp.Active {
		master.Set(1)
	}
	g.Reason, g.Since = s.Reason, stamp(s.Since)
	if s.Peer.IsValid() && (g.Peer != s.Peer.String() || s.PeerSeen.Sub(r.seen[i]) >= seenStep) {
		g.Peer, g.PeerSeen, r.seen[i] = s.Peer.String(), stamp(s.PeerSeen), s.PeerSeen
	}
	r.mu.Unlock()
	r.publish()
}

var roles = [...]string{vrrp.Initialize: wire.RoleInit, vrrp.Backup: wire.RoleBackup, vrrp.Active: wire.RoleMaster}

// publish writes failoverd.json unless nothing changed.
func (r *report) publish() {
	r.mu.Lock()
	file := wire.Failover{Groups: append([]wire.Group{}, r.groups...), Flows: r.flows.wire(), Flaws: r.flaws, Cable: r.cable}
	file.Tunnel = r.ident.wire(lead(r.groups))
	r.mu.Unlock()
	if err := r.env.Publish(wire.FailoverFile, &file); err != nil {
		r.env.Log.Error("publish", "err", err)
	}
}

// lead reports whether the first group's addresses are here: that box runs the
// tunnel.
func lead(groups []wire.Group) bool { return len(groups) > 0 && groups[0].Role == wire.RoleMaster }

func (r *report) leads() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return lead(r.groups)
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
