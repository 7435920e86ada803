package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/serve"
)

// startAgain is the wait before an endpoint that failed is started again.
const startAgain = 3 * time.Second

// serving answers what a listener accepts until its context ends. It closes the
// listener.
type serving func(context.Context, net.Listener) error

// endpoint is the task that keeps one way in up. prepare reads what it needs;
// while that or listening fails a fault stands and it is tried again.
func (s *state) endpoint(what, addr string, prepare func() (serving, error)) daemon.Task {
	where := what + " " + addr
	s.starting.Add(1)
	first := sync.OnceFunc(s.starting.Done)
	return daemon.Task{Name: where, Run: func(ctx context.Context) error {
		for {
			run, err := prepare()
			var l net.Listener
			if err == nil {
				l, err = net.Listen("tcp", addr)
			}
			if err == nil {
				s.env.Faults.Clear(faultTLS, where)
				s.env.Faults.Clear(faultEndpoint, where)
				s.env.Log.Info("listening", "endpoint", where)
				first()
				err = run(ctx, l)
			}
			if ctx.Err() != nil {
				return nil
			}
			s.endpointDown(where, err)
			first()
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(startAgain):
			}
		}
	}}
}

func (s *state) endpointDown(where string, err error) {
	if err == nil {
		err = errors.New("ended without being asked to")
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
}

// ready tells the supervisor when every endpoint has been started once. One that
// failed is a fault, not a reason to keep the box waiting.
func (s *state) ready(ctx context.Context) error {
	s.starting.Wait()
	s.env.Ready()
	<-ctx.Done()
	return nil
}

// anchor is the path of a CA file of the site.
func (s *state) anchor(file string) string {
	return filepath.Join(filepath.Dir(s.env.Site), "anchors", file)
}
