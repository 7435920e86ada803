// Command netd drives the box's network: ports, internet providers, routes, the
// packet filter and the tunnels to the hub. It is the only writer of the kernel's
// links, routes, rules, filters and WireGuard sessions.
//
//go:debug multipathtcp=0
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/netd/config"
	"clinicgate/netd/link"
)

func main() { os.Exit(daemon.Main("netd", config.Parse, run)) }

// run assembles the daemon. What changes the box goes through one goroutine, the
// box's loop; everything else sends it events.
func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	b, err := newBox(env, cfg)
	if err != nil {
		return err
	}
	defer b.close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.shown.Load()) // a caller that hung up
	})
	mux.HandleFunc("GET /why", b.serveWhy)
	mux.Handle("GET /metrics", &b.metrics)
	b.offers.routes(mux)
	newDiagnosis(cfg).routes(mux)
	tasks := append(b.offers.tasks(),
		daemon.Task{Name: "loop", Run: b.loop},
		daemon.Task{Name: "links", Run: func(ctx context.Context) error {
			return link.Watch(ctx, func() { b.tell(ctx, b.lookAtLinks) })
		}},
		daemon.Task{Name: "pair", Run: b.followPair},
		daemon.Task{Name: "firewall", Run: b.keepFirewall},
		daemon.Task{Name: "counters", Run: func(ctx context.Context) error {
			return daemon.Every(time.Second, func(time.Time) { b.tell(ctx, b.refresh) })(ctx)
		}},
		env.Control(mux))
	return daemon.Run(ctx, tasks...)
}
