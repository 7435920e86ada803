package main

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"clinicgate/failoverd/beat"
	"clinicgate/failoverd/cable"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/twin"
	"clinicgate/firmware/wire"
)

// faultCable is a second heartbeat that is missing.
const faultCable = "pair.cable-lost"

// Bounds of the time between beats: a box that advertises slowly is still to notice
// at once what the cable says.
const (
	beatLeast = 10 * time.Millisecond
	beatMost  = 100 * time.Millisecond
)

// A heartbeat is the cable with its tasks.
type heartbeat struct {
	env   *daemon.Env
	rep   *report
	cfg   config.Config
	cable *cable.Cable

	groups []*group // set before anything runs

	since time.Time // of alive
	alive bool
}

// openHeartbeat returns nil where there is no cable, or no key for it: the fault
// about the key is raised beside the connections'.
func openHeartbeat(env *daemon.Env, rep *report, cfg config.Config) *heartbeat {
	if cfg.Flows == nil {
		return nil
	}
	key, err := twin.ReadKey(filepath.Join(env.Secrets, twin.KeyFile))
	if err != nil {
		return nil
	}
	h := &heartbeat{env: env, rep: rep, cfg: cfg, since: time.Now()}
	every := beatMost
	for _, g := range cfg.Groups {
		every = min(every, max(g.Interval, beatLeast))
	}
	h.cable, err = cable.New(cable.Config{
		Port: cfg.Flows.Port, Listen: cfg.Flows.Listen, Peer: cfg.Flows.Peer, Key: key, Every: every,
		Groups: h.say, Heard: h.heard,
	}, env.Log)
	if err != nil {
		env.Log.Error("there is no second heartbeat", "err", err)
		return nil
	}
	return h
}

func (h *heartbeat) say() (all []beat.Group) {
	now := time.Now()
	for _, g := range h.groups {
		all = append(all, g.witness.say(now))
	}
	return all
}

func (h *heartbeat) heard() {
	for _, g := range h.groups {
		g.witness.poke()
	}
}

// tasks are the talking, and showing how it goes.
func (h *heartbeat) tasks(groups []*group) []daemon.Task {
	h.groups = groups
	return []daemon.Task{
		{Name: "cable", Run: h.cable.Run},
		{Name: "show cable", Run: daemon.Every(time.Second, h.show)},
	}
}

// show states how the cable is. A restart of the other box is no fault yet.
func (h *heartbeat) show(now time.Time) {
	const restart = 5 * time.Second
	st := h.cable.Status(now)
	if alive := st.State == trust.Alive; alive != h.alive {
		h.alive, h.since = alive, now
		h.env.Log.Info("cable between the boxes", "alive", alive, "heard", st.Last)
	}
	where := "port " + h.cfg.Flows.Port
	if h.alive {
		h.env.Faults.Clear(faultCable, where)
	} else if now.Sub(h.since) > restart {
		what := "the other box is not heard over the cable; the boxes see each other on the clinic's network only"
		if st.Err != nil {
			what += fmt.Sprintf(" (%v)", st.Err)
		}
		h.env.Faults.Raise(wire.Fault{
			ID: faultCable, Severity: wire.Warning, Where: where, What: what,
			Do: "check that the other box runs, the cable between the boxes, pair.flows on both, and that both have the same " + twin.KeyFile,
		})
	}
	w := &wire.Cable{Alive: h.alive, Since: stamp(h.since), Refused: st.Refused}
	for _, g := range h.groups {
		if said, ok := h.cable.Said(g.cfg.VRID, g.six()); ok && h.alive {
			o := wire.Other{Group: g.cfg.Name, Role: spoken[said.Role], Priority: int(said.Priority)}
			if said.Self.IsValid() {
				o.Address = said.Self.String()
			}
			w.Other = append(w.Other, o)
		}
	}
	h.rep.cabled(w)
}

// spoken names the roles of a beat as the wire file does.
var spoken = [...]string{beat.Init: wire.RoleInit, beat.Backup: wire.RoleBackup, beat.Master: wire.RoleMaster}

// cabled takes over how the cable is.
func (r *report) cabled(w *wire.Cable) {
	r.mu.Lock()
	same := reflect.DeepEqual(r.cable, w)
	r.cable = w
	r.mu.Unlock()
	if !same {
		r.publish()
	}
}

// sides makes one side for each port.
func sides(cfg config.Config) map[string]*side {
	all := map[string]*side{}
	for _, g := range cfg.Groups {
		if all[g.Port] == nil {
			all[g.Port] = &side{}
		}
	}
	return all
}

// asking keeps the machines' signs of life young on a quiet network.
func (h household) asking() daemon.Task {
	return daemon.Task{Name: "ask machines", Run: func(ctx context.Context) error {
		return daemon.Every(askEvery, func(now time.Time) {
			for _, s := range h.sides {
				s.idle(now)
			}
		})(ctx)
	}}
}
