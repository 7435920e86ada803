// Package room is the workstation's side of a room's card reader. Its one
// guarantee: on the gateway's word a card does nothing but say who it is and sign
// a challenge that this side put together, of this connection and this reader; the
// PIN is typed here, shown to the card here, and goes nowhere else.
package room

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/pcsc"
)

// A Link is a card held with exclusive access. After an error of Transmit only
// Close may be called.
type Link interface {
	apdu.Transport
	Close()
}

// Readers reaches the workstation's readers; package pcsc does.
type Readers interface {
	Watch(ctx context.Context, changed func([]pcsc.State)) error
	Connect(reader string) (Link, error)
}

// An Asker asks whoever sits at the workstation for the PIN. It returns nothing
// when nobody types one. The caller wipes what it gets.
type Asker interface {
	Ask(ctx context.Context, question string) ([]byte, error)
}

// A Pad is a Link whose reader may have keys of its own: there the PIN is typed,
// and no computer sees it.
type Pad interface {
	HasPad() bool
	// VerifyOnPad has the reader ask for a PIN, put it into the command in
	// place of its data, and returns the card's answer.
	VerifyOnPad(command []byte) ([]byte, error)
}

// How long things may take.
const (
	beat   = 250 * time.Millisecond // between signs of life
	silent = 2 * time.Second        // without one from the gateway: the link is dead
	asking = 60 * time.Second       // for a PIN to be typed
)

// A Station is one workstation's connection to the gateway. Set its fields, then
// call Serve.
type Station struct {
	Room    string // that our certificate is for
	Readers Readers
	Only    string // start of the reader's name; empty: the first there is
	Asker   Asker
	Log     *slog.Logger
}

// Serve keeps the gateway's room on an open connection until it breaks or ctx
// ends. Every card is let go, and reset, before it returns.
func (s *Station) Serve(ctx context.Context, conn *tls.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("reach gateway: %w", err)
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != frame.Protocol {
		return fmt.Errorf("reach gateway: it speaks %q, want %q", state.NegotiatedProtocol, frame.Protocol)
	}
	channel, err := state.ExportKeyingMaterial(frame.Label, nil, frame.ExporterSize)
	if err != nil {
		return fmt.Errorf("bind to connection: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	l := &line{conn: conn, cancel: cancel}
	d := &desk{Station: s, line: l, channel: channel, work: make(chan frame.Request, 4)}
	var all sync.WaitGroup
	all.Go(func() { d.run(ctx) })
	all.Go(func() { d.watch(ctx) })
	all.Go(func() { l.beats(ctx) })
	err = d.listen(ctx)
	cancel(err)
	all.Wait()
	if cause := context.Cause(ctx); cause != nil && err == nil {
		err = cause
	}
	return err
}

// A line is the connection, written to by several goroutines.
type line struct {
	conn   *tls.Conn
	cancel context.CancelCauseFunc
	mu     sync.Mutex
}

// send writes an answer; a line that can't be written to is over.
func (l *line) send(a frame.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(silent))
	if err := frame.Write(l.conn, a); err != nil {
		l.cancel(err)
	}
}

// beats says that we are alive.
func (l *line) beats(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.send(frame.Answer{})
		}
	}
}

// listen reads what the gateway asks. More than a few requests at once are none of
// our gateway's.
func (d *desk) listen(ctx context.Context) error {
	for {
		_ = d.line.conn.SetReadDeadline(time.Now().Add(silent))
		var q frame.Request
		if err := frame.Read(d.line.conn, &q); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if q.ID == 0 {
			continue
		}
		select {
		case d.work <- q:
		default:
			return errors.New("the gateway asks for too much at once")
		}
	}
}
