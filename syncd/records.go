package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/serve"
	"clinicgate/syncd/upload"
)

// name is the gateway's name on the clinic's LAN, in its certificate too.
const name = "gateway.internal"

// maxConns bounds the workstations' connections to the FHIR endpoint.
const maxConns = 512

// handler is the FHIR endpoint as it is reached at self.
func (s *state) handler(self string) *serve.Handler {
	room := s.room("trail of accesses")
	reader := s.reader(s.cfg.Cache.Fresh)
	return &serve.Handler{
		Records: reader, Writing: &serve.Writing{Writes: s.desk, Stands: reader.Current},
		Trail: s.trail, Roster: s.live, Issuer: grant.Issuer(s.cfg.Site.Code), Self: self, EHR: s.cfg.EHR.Base.String(),
		Capability: fhir.Capability(self, s.env.Release, time.Now(), true, s.creates()...), Log: s.env.Log,
		Traced: func(err error) { s.countTraced(err); room(err); s.lastRead.Store(time.Now().UnixNano()) },
	}
}

// records is the task of the FHIR endpoint for workstations.
func (s *state) records() daemon.Task {
	_, port, _ := net.SplitHostPort(s.cfg.Listen) // config has checked it
	h := s.handler("https://" + net.JoinHostPort(name, port) + serve.Base)
	return s.endpoint("records", s.cfg.Listen, func() (serving, error) {
		conf, err := serve.TLS(s.env.Secrets, s.anchor(s.cfg.Devices))
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, l net.Listener) error {
			return serve.HTTP(ctx, tls.NewListener(netutil.LimitListener(l, maxConns), conf), s.paths(h), s.env.Log)
		}, nil
	})
}

// reader reads records through the cache, and is content with an answer so old.
func (s *state) reader(fresh time.Duration) *cache.Reader {
	r := &cache.Reader{Cache: s.cache, Source: s.ehr, Rules: cache.Rules{Fresh: fresh, Behind: s.cfg.Cache.Behind, OnFail: s.cfg.Cache.OnFail}, Log: s.env.Log, Asked: s.asked, Kept: s.room("cache"), Seen: s.register.Learn}
	if s.desk != nil { // a nil *Desk in the interface would be taken for one
		r.Pending = s.desk
	}
	return r
}

// paths are the records, and beside them ECGs, and uploads if the site takes any.
func (s *state) paths(records *serve.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", records)
	s.looking(mux, records)
	s.handIns(mux, records)
	s.doctorsRoutes(mux)
	if s.cfg.Uploads == nil {
		return mux
	}
	h := upload.New(upload.Options{
		Door: s.door, Parts: s.parts, Trail: s.trail, Roster: s.live, Issuer: grant.Issuer(s.cfg.Site.Code),
		Devices: s.cfg.Uploads.Devices, Log: s.env.Log,
	})
	for _, path := range []string{upload.PostPath, upload.TusPath, upload.StowPath} {
		mux.Handle(path, h)
	}
	return mux
}

// asked hears how each question to the EHR ended.
func (s *state) asked(err error) {
	s.countAsked(err)
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

// room returns what hears how each write to one of the stores ended.
func (s *state) room(of string) func(error) {
	return func(err error) {
		switch {
		case err == nil:
			s.env.Faults.Clear(faultDisk, of)
		case errors.Is(err, segment.ErrFull):
			s.env.Faults.Raise(wire.Fault{
				ID: faultDisk, Severity: wire.Alarm, Where: of, What: "there is no room left in " + s.env.State + " for the " + of,
				Do: "see in the status what waits for delivery and why; call support for more room",
			})
		}
	}
}
