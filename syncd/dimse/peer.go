package dimse

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"clinicgate/syncd/dimse/association"
	"clinicgate/syncd/dimse/pdu"
)

// A peer is one connection: it feeds the association's machine with what the
// socket brings and does what the machine says. One goroutine owns it.
type peer struct {
	conn    net.Conn
	in      *pdu.Reader
	out     []byte
	machine *association.Machine
	service *service
	timing  association.Timing
	log     *slog.Logger
}

func (s *Server) serve(ctx context.Context, conn net.Conn, full bool) {
	log := s.opt.Log.With("peer", conn.RemoteAddr().String())
	p := &peer{
		conn: conn, in: pdu.NewReader(conn, s.opt.MaxPDU), timing: s.opt.Timing, log: log,
		machine: association.New(s.policy(full), s.opt.Timing, time.Now()),
	}
	p.service = &service{door: s.opt.Door, send: p.message, log: log, worklist: s.opt.Worklist, ledger: s.opt.Ledger, report: s.reporter(ctx)}
	defer conn.Close()
	// A deadline in the past wakes a read that waits; run finds ctx ended then.
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	p.run(ctx)
	p.service.end(errors.New("the association is over"))
}

func (p *peer) run(ctx context.Context) {
	for p.machine.State() != association.Over {
		p.conn.SetReadDeadline(p.machine.Deadline())
		if ctx.Err() != nil {
			p.do(ctx, p.machine.Abort(time.Now(), "the gateway stops"))
			return
		}
		got, err := p.in.Read()
		p.do(ctx, p.step(got, err))
	}
}

// step turns what a read brought into the machine's input.
func (p *peer) step(got pdu.PDU, err error) []association.Action {
	now := time.Now()
	switch {
	case err == nil:
		return p.machine.Receive(now, got)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return p.machine.Expire(now)
	case errors.Is(err, pdu.ErrUnrecognized):
		return p.broken(p.machine.Invalid(now, pdu.AbortUnrecognized, err.Error()))
	case errors.Is(err, pdu.ErrInvalid):
		return p.broken(p.machine.Invalid(now, pdu.AbortParameter, err.Error()))
	}
	return p.machine.Closed() // EOF, reset
}

// broken adds to an abort that nothing more is read: after bytes that are no PDU
// there is no telling where the next one begins. The peer still gets the abort.
func (p *peer) broken(actions []association.Action) []association.Action {
	return append(actions, p.machine.Closed()...)
}

func (p *peer) do(ctx context.Context, actions []association.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case association.Send:
			p.send(a.PDU)
		case association.Deliver:
			began := time.Now()
			if err := p.service.data(ctx, p.machine.Agreed(), a.Data); err != nil {
				p.do(ctx, p.machine.Abort(time.Now(), err.Error()))
				return
			}
			p.machine.Worked(time.Since(began))
		case association.End:
			p.end(a.Reason)
		case association.Disconnect:
			p.lingering()
		}
	}
}

// end ends the message layer: an instance that has begun to come is not whole.
func (p *peer) end(reason string) {
	p.service.end(errors.New(reason))
	attrs := []any{"reason", reason, "stored", p.service.stored, "refused", p.service.refused}
	if a := p.machine.Agreed(); a != nil {
		attrs = append(attrs, "caller", a.Caller, "software", a.Peer)
	}
	if reason == association.Released {
		p.log.Info("dicom association", attrs...)
	} else {
		p.log.Warn("dicom association", attrs...)
	}
}

// lingering closes the connection so that the peer can still read what was sent
// last: closing with unread bytes would make the kernel reset it.
func (p *peer) lingering() {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		p.conn.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, p.conn, 1<<20)
	}
	p.conn.Close()
}

// send writes a PDU. A failure shows in the next read.
func (p *peer) send(u pdu.PDU) {
	p.out = pdu.Append(p.out[:0], u)
	p.conn.SetWriteDeadline(time.Now().Add(p.timing.ARTIM))
	if _, err := p.conn.Write(p.out); err != nil {
		p.log.Warn("dicom send", "pdu", u.String(), "err", err)
		p.conn.Close()
	}
}

// message sends a command set, and a data set if there is one, in as many fragments
// as the peer's PDU size asks for.
func (p *peer) message(context byte, command, data []byte) {
	p.fragments(context, true, command)
	if data != nil {
		p.fragments(context, false, data)
	}
}

func (p *peer) fragments(context byte, command bool, b []byte) {
	most := int(p.machine.Agreed().PeerMax) - 6 // length, context and control of the value
	for {
		n := min(most, len(b))
		last := n == len(b)
		p.send(&pdu.Data{PDVs: []pdu.PDV{{Context: context, Command: command, Last: last, Value: b[:n]}}})
		if b = b[n:]; last {
			return
		}
	}
}
