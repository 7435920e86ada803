package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"

	"clinicgate/cardauth/apps"
	"clinicgate/cardauth/config"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/serve"
	"clinicgate/cardauth/smart"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// browserApps is the task of the endpoints where programs in a browser log in; it
// waits, if there are none.
func browserApps(env *daemon.Env, cfg config.Config, desk apps.Desk, clinic *presence.Clinic, tokens apps.Tokens, rooms *rooms, keys *serve.Keys) daemon.Task {
	return daemon.Task{Name: "programs' logins", Run: func(ctx context.Context) error {
		if cfg.Apps == nil {
			<-ctx.Done()
			return nil
		}
		s := apps.New(apps.Setup{
			Desk: desk, Sessions: clinic, Tokens: tokens, Apps: programs(cfg.Apps), Base: cfg.Apps.Base, FHIR: cfg.Apps.FHIR,
			Places: func(from netip.Addr) []apps.Place { return places(cfg, rooms, from) }, Log: env.Log,
		})
		return accept(ctx, env, "programs' logins", cfg.Apps.Listen, clinic.Republish, func(ctx context.Context, l net.Listener) error {
			return daemon.ServeHTTP(ctx, tls.NewListener(l, keys.Open()), daemon.Server(s.Handler(), env.Log))
		})
	}}
}

func programs(c *config.Apps) (out []smart.App) {
	for _, a := range c.Apps {
		out = append(out, smart.App{ID: a.ID, Name: a.Name, Redirects: a.Redirects, Origins: a.Origins, Scopes: a.Scopes, Bind: a.Bind})
	}
	return out
}

// places are the rooms whose card a browser at that address may log in with: those
// the site file says, and the room whose workstation it is.
func places(cfg config.Config, r *rooms, from netip.Addr) (out []apps.Place) {
	for _, b := range cfg.Apps.Browsers {
		if b.Address == from {
			out = append(out, apps.Place{Room: b.Room})
		}
	}
	if r.hub == nil {
		return out
	}
	for _, c := range cfg.Readers {
		if addr, ok := r.hub.Connected(c.Room); c.Agent && ok && addr == from {
			out = append(out, apps.Place{Room: c.Room, AtReader: true})
		}
	}
	return out
}

// published is what syncd must know of the programs.
func published(c *config.Apps) *wire.Apps {
	if c == nil {
		return nil
	}
	out := &wire.Apps{Base: c.Base, Origins: []string{}}
	for _, a := range c.Apps {
		out.Origins = append(out.Origins, a.Origins...)
	}
	return out
}
