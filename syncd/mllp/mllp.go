// Package mllp takes HL7 v2 results over the Minimal Lower Layer Protocol. Its
// guarantee: AA and CA go out only after the message is durable in the queue, and
// each acknowledgement answers the message before it on its own connection.
//
// MLLP has neither keys nor names: who sends is what MSH-3 and MSH-4 say, as with
// an AE title.
package mllp

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/syncd/hl7"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/queue"
)

// The block: start, message, end, carriage return.
const (
	blockStart = 0x0B
	blockEnd   = 0x1C
	blockTail  = 0x0D
)

// Door lets messages in; *ingest.Door is one.
type Door interface {
	Message(ctx context.Context, origin string, m hl7.Message, body []byte) (queue.Receipt, error)
	Unreadable(origin string, why error) error
}

// Options say how to serve. Door and Log are required.
type Options struct {
	Door    Door
	Senders []string // sending applications (MSH-3.1) that may send; empty: any
	Log     *slog.Logger

	Conns      int           // at once; 0: 16
	MaxMessage int           // bytes; 0: 4 MiB
	Idle       time.Duration // between messages; 0: 1 h, for many senders stay connected
	Patience   time.Duration // within one; 0: 30 s
}

// Server serves senders.
type Server struct{ opt Options }

// New returns a server.
func New(o Options) *Server {
	if o.Conns == 0 {
		o.Conns = 16
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 4 << 20
	}
	if o.Idle == 0 {
		o.Idle = time.Hour
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	return &Server{o}
}

// Serve answers what l accepts until ctx ends; then it closes the connections and
// returns when none is left. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	places := make(chan struct{}, s.opt.Conns)
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
		case err != nil: // out of file descriptors, a peer gone already
			s.opt.Log.Warn("mllp accept", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case places <- struct{}{}:
			all.Go(func() {
				defer func() { <-places }()
				s.serve(ctx, conn)
			})
		default:
			conn.Close()
		}
	}
}

// serve takes one connection's messages, one after the other.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReaderSize(&patient{conn, s.opt.Patience}, 16<<10)
	for {
		conn.SetReadDeadline(time.Now().Add(s.opt.Idle))
		body, err := block(in, s.opt.MaxMessage)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return
		}
		var ack []byte
		if err == nil || errors.Is(err, errLong) {
			ack = s.take(ctx, body, err)
		}
		if err == nil || len(ack) > 0 {
			conn.SetWriteDeadline(time.Now().Add(s.opt.Patience))
			if werr := reply(conn, ack); werr != nil {
				err = werr
			}
		}
		if err != nil { // where the next message begins is not known
			s.opt.Log.Warn("mllp connection ended", "peer", conn.RemoteAddr().String(), "err", err)
			return
		}
	}
}

// patient gives a message time as long as something comes of it.
type patient struct {
	net.Conn
	more time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.Conn.SetReadDeadline(time.Now().Add(p.more))
	}
	return n, err
}

// Errors of framing; after any of them the connection ends.
var (
	errFrame = errors.New("not an MLLP block")
	errLong  = errors.New("message too long")
)

// block reads one; of a message over most bytes it gives the beginning and
// errLong. io.EOF means that the sender went away between two.
func block(in *bufio.Reader, most int) ([]byte, error) {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == blockStart {
			break
		}
		if c != '\r' && c != '\n' { // some end a block with both
			return nil, fmt.Errorf("%w: begins with %#x", errFrame, c)
		}
	}
	var body []byte
	for {
		piece, err := in.ReadSlice(blockEnd)
		body = append(body, piece...)
		if err == nil {
			body = body[:len(body)-1]
		}
		if len(body) > most {
			return body[:most], fmt.Errorf("%w: over %d bytes", errLong, most)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		c, err := in.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("%w: no end: %w", errFrame, err)
		}
		if c != blockTail {
			return nil, fmt.Errorf("%w: %#x behind the end", errFrame, c)
		}
		return body, nil
	}
}

// reply writes one block; nothing, if the sender wants no word.
func reply(w io.Writer, ack []byte) error {
	if len(ack) == 0 {
		return nil
	}
	b := append([]byte{blockStart}, ack...)
	_, err := w.Write(append(b, blockEnd, blockTail))
	return err
}

// take makes a message durable and returns the acknowledgement. frame is why it is
// not whole.
func (s *Server) take(ctx context.Context, body []byte, frame error) []byte {
	began := time.Now()
	m, err := hl7.Header(body)
	origin := originOf(m)
	var receipt queue.Receipt
	switch {
	case err != nil:
		err = s.opt.Door.Unreadable("an HL7 sender without a name", err)
	case frame != nil:
		err = s.opt.Door.Unreadable(origin, frame)
	case len(s.opt.Senders) > 0 && !slices.Contains(s.opt.Senders, application(m)):
		err = &hl7.Error{Code: 207, What: "this sending application (MSH-3) is not in the site file"}
	default:
		receipt, err = s.keep(ctx, origin, body)
	}
	outcome, why := sort(err)
	if err != nil {
		s.opt.Log.Warn("hl7 message not taken", "sender", origin, "err", err)
	} else {
		s.opt.Log.Info("hl7 message stored", "sender", origin, "item", receipt.ID.String(), "bytes", receipt.Size, "ms", time.Since(began).Milliseconds())
	}
	code := m.Code(outcome)
	if code == "" {
		return nil
	}
	return m.Ack(code, rand.Text()[:20], why, time.Now())
}

func (s *Server) keep(ctx context.Context, origin string, body []byte) (queue.Receipt, error) {
	m, err := hl7.Parse(body)
	if err != nil {
		return queue.Receipt{}, s.opt.Door.Unreadable(origin, err)
	}
	return s.opt.Door.Message(ctx, origin, m, body)
}

// sort turns an error into what a sender is told.
func sort(err error) (hl7.Outcome, *hl7.Error) {
	if err == nil {
		return hl7.Accepted, nil
	}
	var no *ingest.Refusal
	errors.As(err, &no)
	var why *hl7.Error
	switch {
	case no != nil && !no.Permanent():
		return hl7.Failed, &hl7.Error{Code: 207, What: no.What}
	case errors.As(err, &why):
		return hl7.Rejected, why
	case no != nil && no.Reason == ingest.Unsupported:
		return hl7.Rejected, &hl7.Error{Code: 200, What: no.What}
	case no != nil && no.Reason == ingest.Conflict:
		return hl7.Rejected, &hl7.Error{Code: 205, What: no.What}
	case no != nil:
		return hl7.Rejected, &hl7.Error{Code: 100, What: no.What}
	}
	return hl7.Failed, &hl7.Error{Code: 207, What: "the message could not be kept"}
}

// application is MSH-3.1.
func application(m hl7.Message) string {
	if m.Field == 0 {
		return ""
	}
	name, _, _ := strings.Cut(m.From[0], m.Encoding[:1])
	return name
}

// originOf names the sender, in few printable characters: it is whatever it says.
func originOf(m hl7.Message) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, application(m))
	if name == "" {
		return "an HL7 sender without a name"
	}
	return name[:min(len(name), 64)]
}
