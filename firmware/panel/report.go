package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/gatectl/initctl"
	"clinicgate/firmware/panel/config"
	"clinicgate/firmware/telemetry"
)

// Bounds of what cloud ops ask.
const (
	maxScrapers = 8
	followAgain = 5 * time.Second // after the log broke off
)

// report is what leaves the clinic about the box: metrics for those who ask from
// behind the hub, and log lines to their collectors.
func report(env *daemon.Env, cfg config.Config, w *watcher) (tasks []daemon.Task) {
	if m := cfg.Metrics; m != nil {
		h := telemetry.Handler{Source: w.source, From: knows(m.From)}
		tasks = append(tasks, daemon.Task{Name: "metrics", Run: func(ctx context.Context) error {
			// The tunnel's address may not be there yet, and may go and come.
			lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
				if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) }); cerr != nil {
					return cerr
				}
				return err
			}}
			l, err := lc.Listen(ctx, "tcp", m.Listen)
			if err != nil {
				return err
			}
			srv := daemon.Server(h, env.Log)
			srv.ReadTimeout, srv.IdleTimeout, srv.MaxHeaderBytes = bodyWithin, idleFor, maxHeader
			return daemon.ServeHTTP(ctx, netutil.LimitListener(l, maxScrapers), srv)
		}})
	}
	var to []*telemetry.Forwarder
	add := func(name string, t telemetry.Target) {
		to = append(to, &telemetry.Forwarder{Name: name, To: t, Log: env.Log, Counts: &w.metrics})
	}
	if u := cfg.Export.Syslog; u != nil {
		add("syslog", telemetry.Syslog{Network: u.Scheme, Address: u.Host, Host: cfg.Site.Code})
	}
	if u := cfg.Export.OTLP; u != nil {
		add("otlp", telemetry.OTLPHTTP{URL: u, Host: cfg.Site.Code, Client: &http.Client{Transport: &http.Transport{Proxy: nil, MaxIdleConns: 1}}})
	}
	for _, f := range to {
		tasks = append(tasks, daemon.Task{Name: "export to " + f.Name, Run: f.Run})
	}
	if len(to) > 0 {
		tasks = append(tasks, daemon.Task{Name: "log", Run: func(ctx context.Context) error { return follow(ctx, initctl.Client{Run: env.Run}, to) }})
	}
	return tasks
}

// knows reports whether a remote address is in one of the networks.
func knows(from []netip.Prefix) func(string) bool {
	return func(remote string) bool {
		a, err := netip.ParseAddrPort(remote)
		return err == nil && slices.ContainsFunc(from, func(p netip.Prefix) bool { return p.Contains(a.Addr().Unmap()) })
	}
}

// follow gives the box's log to forwarders, from now on. Where there is no init, as
// in a lab, there is nothing to follow, and it asks again.
func follow(ctx context.Context, c initctl.Client, to []*telemetry.Forwarder) error {
	for {
		_ = c.Log(ctx, "", 0, true, func(text string) { // why it broke off is init's to say
			line := telemetry.Parse(text, time.Now())
			for _, f := range to {
				f.Add(line)
			}
		})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}
