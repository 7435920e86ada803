package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"clinicgate/failoverd/config"
	"clinicgate/failoverd/flowsync"
	"clinicgate/failoverd/flowsync/ctnl"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/twin"
	"clinicgate/firmware/wire"
)

// Metric names of the connections that are passed on.
const (
	metricFlowsSent     = "failoverd_flows_sent"
	metricFlowsHeld     = "failoverd_flows_held"
	metricFlowsLag      = "failoverd_flows_lag_seconds"
	metricFlowsPut      = "failoverd_flows_put_total"
	metricFlowsRefused  = "failoverd_flows_refused_total"
	metricFlowsDropped  = "failoverd_flows_dropped_total"
	metricFlowsOverruns = "failoverd_flows_overruns_total"
)

// Faults of passing connections on.
const (
	faultFlowsKey   = "pair.flows-key"
	faultFlowsAlone = "pair.flows-alone"
)

// aloneAfter is how long the other box may be out of reach before it is a fault:
// it restarts in less.
const aloneAfter = 30 * time.Second

// flows is the copy of the clinic's connections with its hands.
type flows struct {
	*flowsync.Sync
	env     *daemon.Env
	metrics *metric.Set
	cfg     config.Flows
	table   *ctnl.Table
	reached time.Time // when the other box was last told of something
	counted flowsync.Counts
}

// openFlows returns nil when connections can't be passed on: the clinic has its
// gateway all the same, and the fault says what is missing.
func openFlows(env *daemon.Env, m *metric.Set, cfg config.Config) *flows {
	if cfg.Flows == nil {
		return nil
	}
	path := filepath.Join(env.Secrets, twin.KeyFile)
	key, err := twin.ReadKey(path)
	if err != nil {
		env.Faults.Raise(wire.Fault{
			ID: faultFlowsKey, Severity: wire.Alarm, Where: "pair.flows",
			What: fmt.Sprintf("%v; a takeover will break open connections", err),
			Do:   "put the same key on both boxes (wg genkey > " + twin.KeyFile + ") and restart failoverd",
		})
		return nil
	}
	f := &flows{env: env, metrics: m, cfg: *cfg.Flows, reached: time.Now()}
	if f.table, err = ctnl.Open(); err == nil {
		f.Sync, err = flowsync.New(flowsync.Config{
			Port: f.cfg.Port, Listen: f.cfg.Listen, Peer: f.cfg.Peer, Key: key, Max: f.cfg.Max, Own: virtual(cfg),
		}, env.Log, f.table, flowsync.Conntrack{})
	}
	if err != nil {
		env.Log.Error("connections are not passed on", "err", err)
		return nil
	}
	return f
}

// session is the one with the other box; nil: there is none.
func (f *flows) session() *flowsync.Sync {
	if f == nil {
		return nil
	}
	return f.Sync
}

// virtual are the pair's addresses: what ends there is this box's own traffic.
func virtual(cfg config.Config) (all []netip.Addr) {
	for _, g := range cfg.Groups {
		for _, a := range g.Addresses {
			all = append(all, a.Addr())
		}
	}
	return all
}

// tasks are the copying, and showing how it goes.
func (f *flows) tasks(rep *report) []daemon.Task {
	return append(f.Tasks(),
		daemon.Task{Name: "watch flows", Run: daemon.Every(lookAgain, f.watch)},
		daemon.Task{Name: "show flows", Run: func(ctx context.Context) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-f.Bell():
					rep.publish()
				}
			}
		}})
}

// watch states the fault of a box that has been alone for a while, and the figures.
func (f *flows) watch(now time.Time) {
	st := f.Status()
	if st.Telling {
		f.reached = now
		f.env.Faults.Clear(faultFlowsAlone, "port "+f.cfg.Port)
	} else if now.Sub(f.reached) > aloneAfter {
		f.env.Faults.Raise(wire.Fault{
			ID: faultFlowsAlone, Severity: wire.Warning, Where: "port " + f.cfg.Port,
			What: fmt.Sprintf("the other box is not told of connections: %v", st.Err),
			Do:   "check the cable between the boxes, pair.flows on both, and that both have the same " + twin.KeyFile,
		})
	}
	f.metrics.Gauge(metricFlowsSent, "Connections of this box that the other has.").Set(float64(st.Sent))
	f.metrics.Gauge(metricFlowsHeld, "Connections of the other box that this one has.").Set(float64(st.Held))
	f.metrics.Gauge(metricFlowsLag, "Time until the other box had everything.").Set(st.Lag.Seconds())
	f.add(metricFlowsPut, "Connections put in place for the other box.", st.Put-f.counted.Put)
	f.add(metricFlowsRefused, "Connections of the other box that the kernel or this box refused.", st.Refused-f.counted.Refused)
	f.add(metricFlowsDropped, "Connections left out for want of room.", st.Dropped-f.counted.Dropped)
	f.add(metricFlowsOverruns, "Times the kernel had more changes than could be read.", st.Overruns-f.counted.Overruns)
	f.counted = st.Counts
}

func (f *flows) add(name, help string, n uint64) { f.metrics.Counter(name, help).Add(float64(n)) }

// wire is what failoverd.json says.
func (f *flows) wire() *wire.Flows {
	if f == nil {
		return nil
	}
	st := f.Status()
	return &wire.Flows{
		Peer: f.cfg.Peer.String(), Telling: st.Telling, Told: st.Told, Sent: st.Sent, Held: st.Held,
		LagMS: st.Lag.Milliseconds(), Refused: st.Refused, Dropped: st.Dropped, Overruns: st.Overruns,
	}
}
