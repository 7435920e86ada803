package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"

	"clinicgate/syncd/mqtt/pending"
)

// patience is what a peer has for the TLS handshake and its CONNECT together. The
// broker sets deadlines only after CONNECT.
const patience = 15 * time.Second

// listener hands connections to the broker after their handshake, a bounded number
// at once. What comes beyond that is closed unheard.
type listener struct {
	net    net.Listener
	tls    *tls.Config
	places chan struct{}
	log    *slog.Logger
	failed chan error // one value: the listener broke

	close sync.Once
	done  chan struct{}
}

func newListener(l net.Listener, c *tls.Config, clients int, log *slog.Logger) *listener {
	// A device that reconnects may be here twice for a moment.
	places := make(chan struct{}, 2*clients)
	return &listener{net: l, tls: c, places: places, log: log, failed: make(chan error, 1), done: make(chan struct{})}
}

// Init is the broker's; the listener is open already.
func (l *listener) Init(*slog.Logger) error { return nil }

// ID names the listener to the broker.
func (l *listener) ID() string { return "devices" }

// Address is where it listens.
func (l *listener) Address() string { return l.net.Addr().String() }

// Protocol is what it speaks.
func (l *listener) Protocol() string { return "mqtts" }

// Serve accepts until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		conn, err := l.net.Accept()
		switch {
		case l.over():
			if err == nil {
				conn.Close()
			}
			return
		case errors.Is(err, net.ErrClosed):
			l.failed <- err
			return
		case err != nil: // out of file descriptors, a peer gone already
			l.log.Warn("mqtt accept", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case l.places <- struct{}{}:
			go func() {
				defer func() { <-l.places }()
				l.serve(conn, establish)
			}()
		default:
			conn.Close()
		}
	}
}

func (l *listener) serve(conn net.Conn, establish listeners.EstablishFn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	secure := tls.Server(conn, l.tls)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		l.log.Warn("mqtt handshake", "peer", conn.RemoteAddr().String(), "err", err)
		return
	}
	if err := establish(l.ID(), &link{Conn: secure}); err != nil {
		l.log.Info("mqtt client gone", "peer", conn.RemoteAddr().String(), "err", err)
	}
}

// A link is a connection after its handshake, with what is known of the device
// behind it. Only the client's own goroutine touches session.
type link struct {
	*tls.Conn
	session *pending.Session // from CONNECT on
}

func (l *listener) over() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Close stops accepting and closes the clients.
func (l *listener) Close(closeClients listeners.CloseFn) {
	l.close.Do(func() {
		close(l.done)
		l.net.Close()
		closeClients(l.ID())
	})
}
