// Package hub is where the rooms' workstations call with their card readers. Its
// one guarantee: a reader counts as a room's only while the workstation enrolled
// for that room is connected by its own key and says that it is alive; to the rest
// of cardauth its cards are like those of the box's own readers, but for the PIN,
// which never comes here.
package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/agent/enrol"
	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/config"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/presence"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// How long things may take.
const (
	greeting = 10 * time.Second       // handshake and enrolment
	beat     = 500 * time.Millisecond // between our signs of life
	silent   = 2 * time.Second        // without one from the workstation: it is gone
)

// most bounds the connections, enrolments among them.
const most = 128

// faultTwice is a workstation that calls while it is connected already.
const faultTwice = "card.agent-twice"

// A Hub keeps the connections. Set its exported fields before Serve.
type Hub struct {
	Registry *Registry
	// Keys is the gateway's TLS key pair and the PEM of the CA it is from.
	Keys   func() (tls.Certificate, []byte, error)
	Faults *daemon.Faults
	Log    *slog.Logger

	mu      sync.Mutex
	lines   map[string]*line // by room
	changed chan struct{}    // closed and replaced at each change of a reader
}

// New returns a hub without connections.
func New(r *Registry, keys func() (tls.Certificate, []byte, error), faults *daemon.Faults, log *slog.Logger) *Hub {
	return &Hub{Registry: r, Keys: keys, Faults: faults, Log: log, lines: map[string]*line{}, changed: make(chan struct{})}
}

// Serve takes connections until ctx ends.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, most)
	for {
		raw, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case room <- struct{}{}:
		default:
			raw.Close() // it calls again
			continue
		}
		all.Go(func() {
			defer func() { <-room }()
			defer raw.Close()
			if err := h.serve(ctx, raw); err != nil && ctx.Err() == nil {
				h.Log.Debug("workstation", "address", raw.RemoteAddr(), "err", err)
			}
		})
	}
}

// serve answers one connection: a workstation we know, or one that enrols.
func (h *Hub) serve(ctx context.Context, raw net.Conn) error {
	conf, gateway, err := h.config()
	if err != nil {
		return err
	}
	conn := tls.Server(raw, conf)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(greeting))
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != frame.Protocol {
		return errors.New("a client of another protocol")
	}
	channel, err := state.ExportKeyingMaterial(frame.Label, nil, frame.ExporterSize)
	if err != nil {
		return err
	}
	if len(state.PeerCertificates) == 0 {
		return h.enrol(conn, channel, gateway)
	}
	name, known := h.Registry.room(state.PeerCertificates[0])
	if !known {
		h.Log.Warn("a workstation that is not enrolled any more", "address", raw.RemoteAddr(), "room", name)
		return errors.New("not enrolled")
	}
	_ = conn.SetDeadline(time.Time{})
	return h.keep(ctx, newLine(name, conn, channel, address(raw)))
}

// config is the TLS of one connection. Nothing is resumed: each connection shows
// its certificate, and has an exporter value of its own.
func (h *Hub) config() (*tls.Config, []byte, error) {
	pair, gateway, err := h.Keys()
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(h.Registry.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
		NextProtos: []string{frame.Protocol}, SessionTicketsDisabled: true,
	}, gateway, nil
}

// enrol answers one request to enrol.
func (h *Hub) enrol(conn *tls.Conn, channel, gateway []byte) error {
	var q enrol.Request
	if err := frame.Read(conn, &q); err != nil {
		return err
	}
	a, err := h.Registry.admit(q, channel, gateway, time.Now())
	if err != nil {
		h.Log.Warn("a workstation was not enrolled", "address", conn.RemoteAddr(), "err", err)
		a = enrol.Reply{Refusal: err.Error()}
	} else {
		h.Log.Info("workstation enrolled", "address", conn.RemoteAddr(), "room", a.Room)
		h.drop(a.Room) // with the old key
	}
	return frame.Write(conn, a)
}

// keep holds a room's connection until it ends. A second one of the same key is
// turned away while the first is alive: one of the two is not where it should be.
func (h *Hub) keep(ctx context.Context, l *line) error {
	h.mu.Lock()
	if first := h.lines[l.room]; first != nil {
		h.mu.Unlock()
		if first.addr != l.addr {
			h.Faults.Raise(wire.Fault{
				ID: faultTwice, Severity: wire.Alarm, Where: "room " + l.room,
				What: "two workstations call with the key of room " + l.room + ", from " + first.addr.String() + " and " + l.addr.String(),
				Do:   "find out which is the room's own; gatectl card revoke turns both away, gatectl card enroll takes in the right one",
			})
		}
		return errors.New("room " + l.room + " is connected already")
	}
	h.lines[l.room] = l
	h.mu.Unlock()
	h.Log.Info("workstation connected", "room", l.room, "address", l.addr)
	err := l.run(ctx, h.notice)
	h.mu.Lock()
	delete(h.lines, l.room)
	h.mu.Unlock()
	h.notice()
	h.Log.Info("workstation gone", "room", l.room, "err", err)
	return err
}

// notice wakes Watch.
func (h *Hub) notice() {
	h.mu.Lock()
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
}

// drop ends a room's connection.
func (h *Hub) drop(room string) {
	h.mu.Lock()
	l := h.lines[room]
	h.mu.Unlock()
	if l != nil {
		l.conn.Close()
	}
}

// Revoke turns a room's workstation away, now and later. It reports whether there
// was one.
func (h *Hub) Revoke(room string) (bool, error) {
	was, err := h.Registry.Revoke(room)
	h.drop(room)
	h.Faults.Clear(faultTwice, "room "+room)
	return was, err
}

// Connected is the address of a room's workstation, if it is connected.
func (h *Hub) Connected(room string) (netip.Addr, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.lines[room]; l != nil {
		return l.addr, true
	}
	return netip.Addr{}, false
}

// Watch calls changed with the readers of all workstations, at the start and after
// each change, until ctx ends.
func (h *Hub) Watch(ctx context.Context, changed func([]pcsc.State)) error {
	for {
		h.mu.Lock()
		var all []pcsc.State
		for _, l := range h.lines {
			if s, there := l.state(); there {
				all = append(all, s)
			}
		}
		next := h.changed
		h.mu.Unlock()
		slices.SortFunc(all, func(a, b pcsc.State) int { return strings.Compare(a.Reader, b.Reader) })
		changed(all)
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

// Connect holds the card in a workstation's reader.
func (h *Hub) Connect(reader string) (presence.Link, error) {
	h.mu.Lock()
	var found *line
	for _, l := range h.lines {
		if strings.HasPrefix(reader, config.AgentReader(l.room)) {
			found = l
		}
	}
	h.mu.Unlock()
	if found == nil {
		return nil, errGone
	}
	if _, err := found.ask(frame.Request{Do: frame.Open}, quick); err != nil {
		return nil, explain(err)
	}
	return &link{line: found, reader: reader}, nil
}

func address(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
