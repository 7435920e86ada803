// Package dimse is the box's DICOM node on the clinic's LAN: C-ECHO, C-STORE, the
// Modality Worklist's C-FIND and Storage Commitment as a service class provider. Its guarantee: a C-STORE is answered with
// success only after the instance is durable, and whatever a peer does, or stops
// doing, costs at most one of a bounded number of associations for a bounded time.
//
// What an association is, and what may happen on it, is decided in association;
// here are the sockets. Storage Commitment and sending come later: the first as
// one more class with its own service, the second with the requestor's states.
package dimse

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/association"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/queue"
)

// Door lets instances in; *ingest.Door is one. It must return, soon after ctx ends
// or data fails, and is called from several goroutines.
type Door interface {
	Instance(ctx context.Context, in ingest.Instance, data io.Reader) (queue.Receipt, error)
}

// Options say how to serve.
type Options struct {
	Title   string   // our AE title; callers must use it
	Callers []string // AE titles that may call; empty: any
	Door    Door
	Log     *slog.Logger

	Worklist Worklist          // nil: no Modality Worklist
	Ledger   Ledger            // nil: no Storage Commitment
	Peers    map[string]string // AE title → address where it wants to be called; others are answered where they asked

	Associations int                // at once; 0: 64
	Timing       association.Timing // zero fields: 30 s to ask or to close, 2 min between PDUs
	MaxPDU       uint32             // largest P-DATA-TF taken; 0: 128 KiB
}

// spare connections beyond Associations are let in to be told that we are full;
// what comes beyond those is closed unheard.
const spare = 16

// Server answers associations.
type Server struct {
	opt     Options
	classes map[string][]string

	reporting chan struct{} // room for reports at once
	reports   sync.WaitGroup

	mu   sync.Mutex
	open int // connections now
}

// maxReports bounds reports of storage commitment under way.
const maxReports = 16

// New returns a Server.
func New(o Options) *Server {
	if o.Associations == 0 {
		o.Associations = 64
	}
	if o.Timing.ARTIM == 0 {
		o.Timing.ARTIM = 30 * time.Second
	}
	if o.Timing.Idle == 0 {
		o.Timing.Idle = 2 * time.Minute
	}
	if o.MaxPDU == 0 {
		o.MaxPDU = 128 << 10
	}
	return &Server{opt: o, classes: taken(o), reporting: make(chan struct{}, maxReports)}
}

// taken is what presentation contexts are accepted for. Pixel data may come
// compressed, other classes have none.
func taken(o Options) map[string][]string {
	var plain, all []string
	little := []string{"1.2.840.10008.1.2", explicitLittle} // of small data sets
	for _, s := range dataset.Syntaxes() {
		all = append(all, s.UID)
		if !s.Encapsulated {
			plain = append(plain, s.UID)
		}
	}
	m := map[string][]string{dataset.Verification: plain}
	for _, c := range dataset.Classes() {
		if m[c.UID] = all; c.ECG {
			m[c.UID] = plain
		}
	}
	if o.Worklist != nil {
		m[WorklistFind] = little
	}
	if o.Ledger != nil {
		m[Commitment] = little
	}
	return m
}

// Serve answers what l accepts until ctx ends; then it aborts what is open and
// returns when the last association is over. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var associations sync.WaitGroup
	defer s.reports.Wait()
	defer associations.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of file descriptors, a peer gone already: not ours to die of
			s.opt.Log.Warn("dicom accept", "err", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		full, ok := s.enter()
		if !ok {
			conn.Close()
			continue
		}
		associations.Go(func() {
			defer s.leave()
			s.serve(ctx, conn, full)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// enter takes a place for a connection: one of the associations, or one of those
// where it is only told that we are full.
func (s *Server) enter() (full, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= s.opt.Associations+spare {
		return true, false
	}
	s.open++
	return s.open > s.opt.Associations, true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (s *Server) policy(full bool) association.Policy {
	return association.Policy{
		Title: s.opt.Title, Callers: s.opt.Callers, Full: full, Classes: s.classes, MaxPDU: s.opt.MaxPDU,
		ClassUID: dataset.ImplementationClassUID, Version: dataset.ImplementationVersion,
	}
}
