//go:debug multipathtcp=0

// Panel is the clinic's page: whoever works there opens https://gateway.internal
// and reads in one sentence whether all is well, and what to do if not. It shows
// what the other programs publish, changes nothing, and knows no patient.
package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/panel/config"
	"clinicgate/firmware/panel/serve"
)

func main() { os.Exit(daemon.Main("panel", config.Parse, run)) }

func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	pages, err := serve.NewPages()
	if err != nil {
		return err
	}
	w := &watcher{source: collect.Source{Run: env.Run, Site: env.Site}, env: env}
	w.open()
	h := &serve.Handler{Look: w.look, Pages: pages, Names: cfg.Names, Log: env.Log, Ended: ctx, Asked: w.asked, Records: cfg.Records}
	keys := &keys{env: env}
	keys.load()
	control := http.NewServeMux()
	control.Handle("GET /metrics", &w.metrics)
	tasks := []daemon.Task{
		{Name: "samples", Run: daemon.Every(sampleEvery, w.sample)},
		{Name: "teleconsultations", Run: func(ctx context.Context) error {
			return daemon.Every(casesEvery, func(time.Time) { w.consults(ctx) })(ctx)
		}},
		{Name: "certificate", Run: daemon.Every(keysEvery, keys.renew)},
		{Name: "history", Run: w.keep},
		env.Control(control),
		listen(env, "page", cfg.Listen, func(l net.Listener) net.Listener { return tls.NewListener(l, keys.config()) }, h),
	}
	if cfg.Plain != "" {
		tasks = append(tasks, listen(env, "plain page", cfg.Plain, nil, plain(keys, cfg.Listen, h)))
	}
	tasks = append(tasks, report(env, cfg, w)...)
	env.Ready()
	return daemon.Run(ctx, tasks...)
}

// maxConns bounds the connections to a port.
const maxConns = 256

// listen is the task that serves h at addr.
func listen(env *daemon.Env, name, addr string, wrap func(net.Listener) net.Listener, h http.Handler) daemon.Task {
	return daemon.Task{Name: name, Run: func(ctx context.Context) error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err // the supervisor starts the program again
		}
		l = netutil.LimitListener(l, maxConns)
		if wrap != nil {
			l = wrap(l)
		}
		srv := daemon.Server(h, env.Log)
		srv.ReadTimeout, srv.IdleTimeout, srv.MaxHeaderBytes = bodyWithin, idleFor, maxHeader
		return daemon.ServeHTTP(ctx, l, srv)
	}}
}

// plain sends browsers to the protected page, if there is one. Without a
// certificate, as on a new box, the page itself is better than none: nothing in it
// is anybody's secret.
func plain(keys *keys, listen string, page http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(listen) // config has checked it
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !keys.loaded() || host == "" || strings.ContainsAny(host, "/\\@?# ") {
			page.ServeHTTP(w, r)
			return
		}
		if port != "443" {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		http.Redirect(w, r, "https://"+host+"/", http.StatusTemporaryRedirect)
	})
}
