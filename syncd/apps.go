package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/net/netutil"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/dpop"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/serve"
)

// apps is the task of the FHIR endpoint for programs in a browser: the same records
// by the same rules, and no way in for uploads.
func (s *state) apps() []daemon.Task {
	if s.cfg.Apps == nil {
		return nil
	}
	var key [32]byte
	rand.Read(key[:])
	h := s.handler(s.cfg.Apps.Base + serve.Base)
	h.Door = &serve.Door{Base: s.cfg.Apps.Base, Guard: dpop.NewGuard(key), Apps: func() *wire.Apps {
		if c := s.card.Load(); c != nil {
			return c.Apps
		}
		return nil
	}}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	s.looking(mux, h)
	return []daemon.Task{s.endpoint("records for programs", s.cfg.Apps.Listen, func() (serving, error) {
		conf, err := serve.OpenTLS(s.env.Secrets)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, l net.Listener) error {
			return serve.HTTP(ctx, tls.NewListener(netutil.LimitListener(l, maxConns), conf), mux, s.env.Log)
		}, nil
	})}
}
