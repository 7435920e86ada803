package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/serve"
)

// name is the gateway's name on the clinic's LAN, in its certificate too.
const name = "gateway.internal"

// maxConns bounds the workstations' connections to the FHIR endpoint.
const maxConns = 512

// serveRecords keeps the FHIR endpoint up.
func (s *state) serveRecords(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return err // config has checked it
	}
	self := "https://" + net.JoinHostPort(name, port) + serve.Base
	h := &serve.Handler{
		Records: &cache.Reader{Cache: s.cache, Source: s.ehr, Fresh: s.cfg.Cache.Fresh, Log: s.env.Log, Asked: s.asked, Kept: s.stored},
		Trail:   s.trail, Roster: s.roster.Load, Issuer: grant.Issuer(s.cfg.Site.Code), Self: self,
		Capability: fhir.Capability(self, daemon.Release, time.Now()), Log: s.env.Log, Traced: s.stored,
	}
	return s.keepUp(ctx, "records "+s.cfg.Listen, func(ctx context.Context, up func()) error {
		conf, err := serve.TLS(s.env.Secrets, s.anchor(s.cfg.Devices))
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", s.cfg.Listen)
		if err != nil {
			return err
		}
		up()
		return daemon.ServeHTTP(ctx, tls.NewListener(netutil.LimitListener(l, maxConns), conf), h)
	})
}

// anchor is the path of a CA file of the site.
func (s *state) anchor(file string) string {
	return filepath.Join(filepath.Dir(s.env.Site), "anchors", file)
}

// startAgain is the wait before an endpoint that failed is started again.
const startAgain = 3 * time.Second

// keepUp runs an endpoint until ctx ends. It calls up when it listens; while it
// does not, a fault stands and it is tried again.
func (s *state) keepUp(ctx context.Context, where string, run func(ctx context.Context, up func()) error) error {
	for {
		err := run(ctx, func() {
			s.env.Faults.Clear(faultTLS, where)
			s.env.Faults.Clear(faultEndpoint, where)
			s.env.Log.Info("listening", "endpoint", where)
		})
		if ctx.Err() != nil {
			return nil
		}
		fault := wire.Fault{
			ID: faultEndpoint, Severity: wire.Alarm, Where: where, What: err.Error(),
			Do: "mend what it says; the endpoint is tried again every few seconds",
		}
		if errors.Is(err, serve.ErrNoKey) {
			fault.ID = faultTLS
			fault.Do = "put tls.crt and tls.key into " + s.env.Secrets + "; the endpoint starts by itself then"
		}
		s.env.Faults.Raise(fault)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startAgain):
		}
	}
}

// asked hears how each question to the EHR ended.
func (s *state) asked(err error) {
	where := s.cfg.EHR.Base.Host
	switch {
	case errors.Is(err, fhir.ErrForeign):
		s.mu.Lock()
		s.strict = time.Now()
		s.mu.Unlock()
		s.env.Faults.Raise(wire.Fault{
			ID: faultForeign, Severity: wire.Alarm, Where: where, What: "the EHR answered with a record that was not asked for; it was neither shown nor kept",
			Do: "call the EHR's support at once: it may be mixing patients",
		})
	case errors.Is(err, fhir.ErrNonsense):
		s.env.Faults.Raise(wire.Fault{
			ID: faultNonsense, Severity: wire.Alarm, Where: where, What: err.Error(),
			Do: "see that sync.ehr.base in the site file is the EHR's FHIR address; otherwise call the EHR's support",
		})
	case err == nil:
		s.env.Faults.Clear(faultNonsense, where)
	}
}

// stored hears how each write to the cache or the trail ended.
func (s *state) stored(err error) {
	switch {
	case err == nil:
		s.env.Faults.Clear(faultDisk, s.env.State)
	case errors.Is(err, segment.ErrFull):
		s.diskFull("there is no room for records read or for the trail of accesses")
	}
}

func (s *state) diskFull(what string) {
	s.env.Faults.Raise(wire.Fault{
		ID: faultDisk, Severity: wire.Alarm, Where: s.env.State, What: what,
		Do: "see in the status what waits for delivery and why; call support for more room",
	})
}
