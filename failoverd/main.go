//go:debug multipathtcp=0

// Failoverd makes two boxes one: it decides by VRRPv3 which of them has the
// clinic's addresses, puts them on the port and tells the network. It guarantees
// that a box which can't reach the clinic's network does not hold them.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"clinicgate/failoverd/announce"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/guard"
	"clinicgate/failoverd/port"
	"clinicgate/failoverd/vmac"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/metric"
)

func main() {
	work := func() int { return daemon.Main("failoverd", config.Parse, run) }
	if len(os.Args) == 2 && os.Args[1] == guard.Arg {
		work = func() int { return guard.Watch(int(os.Stdin.Fd()), release, os.Stderr) }
	}
	os.Exit(work())
}

// release is what the guard does when this program can't.
func release(h guard.Hold) error {
	if vmac.Is(h.Device) {
		return vmac.Remove(h.Index)
	}
	return announce.Release(h.Index, h.Device, h.Addresses)
}

// lookAgain bounds how long a change of a port can go unseen if the kernel's
// message about it was lost.
const lookAgain = 5 * time.Second

// sweep takes off what a killed run left: the other box may have it by now.
func sweep(env *daemon.Env) error {
	devices, err := vmac.Sweep()
	for _, d := range devices {
		env.Log.Warn("removed a virtual port that a killed run left", "device", d)
	}
	if err != nil {
		return err
	}
	addresses, err := announce.Sweep()
	for _, a := range addresses {
		env.Log.Warn("took off an address that a killed run left", "address", a)
	}
	return err
}

func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	if err := sweep(env); err != nil {
		return err
	}
	var metrics metric.Set
	rep := newReport(env, &metrics, cfg)
	copying := openFlows(env, &metrics, cfg)
	rep.flows = copying
	if len(cfg.Groups) > 0 {
		rep.ident = newIdentity(env, rep, copying.session())
	}
	rep.publish()
	h := household{env: env, rep: rep, metrics: &metrics, guard: &guard.Guard{}, sync: newTogether(), sides: sides(cfg)}
	if copying != nil {
		h.gate = copying
	}
	beats := openHeartbeat(env, rep, cfg)
	if beats != nil {
		h.cable = beats.cable
	}
	tasks := []daemon.Task{{Name: "guard", Run: func(ctx context.Context) error {
		return h.guard.Run(ctx, func(err error) { env.Log.Warn("starting another guard", "err", err) })
	}}}
	var groups []*group
	for i, g := range cfg.Groups {
		gr := newGroup(g, h, i)
		h.sync.add(gr)
		groups = append(groups, gr)
		tasks = append(tasks, daemon.Task{Name: "group " + g.Name, Run: gr.run})
	}
	look := func() {
		for _, g := range groups {
			g.poke()
		}
	}
	mux := http.NewServeMux()
	move := &handover{env: env, log: env.Log, copy: copying.session(), ident: rep.ident, groups: groups}
	if rep.ident != nil {
		tasks = append(tasks, rep.ident.tasks()...)
	}
	if copying != nil {
		tasks = append(tasks, daemon.Task{Name: "notes", Run: move.hear})
	}
	move.resume()
	move.serve(mux)
	mux.Handle("GET /metrics", &metrics)
	tasks = append(tasks,
		daemon.Task{Name: "watch ports", Run: func(ctx context.Context) error { return port.Watch(ctx, look) }},
		daemon.Task{Name: "look at ports", Run: daemon.Every(lookAgain, func(time.Time) {
			look()
			rep.publish() // a fault of the site file is raised beside the groups
		})},
		env.Control(mux),
	)
	if copying != nil {
		tasks = append(tasks, copying.tasks(rep)...)
	}
	tasks = append(tasks, h.asking())
	if beats != nil {
		tasks = append(tasks, beats.tasks(groups)...)
	}
	tasks = append(tasks, newWorth(env, rep, groups).tasks()...)
	env.Ready()
	return daemon.Run(ctx, tasks...)
}
