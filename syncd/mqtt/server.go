// Package mqtt is the box's MQTT endpoint for devices on the clinic's LAN: TLS with
// a client certificate, MQTT 5 and 3.1.1, publishing only. Its guarantee: PUBACK or
// PUBREC goes out only after what was published is durable, and under no name but
// the certificate's; a device that can't be served is told so or cut off, so that
// it sends again, and is never acknowledged and forgotten.
//
// The broker is mochi-mqtt v2.7.9, held at arm's length; what it does otherwise:
//   - OnPublish's error is acknowledged all the same, unless it is ErrRejectPacket
//     (server.go, processPublish); after that the client must be closed, or it
//     waits for ever.
//   - its memory of QoS 2 packet ids ends with the process, and an id that is sent
//     again gets 0x91; so QoS 2 is answered here (once.go) with ids kept on disk,
//     and the broker never sees it.
//   - a session belongs to whoever names its client id; here the certificate's
//     name is put before it.
//   - log records carry whole packets; here nothing but the error passes.
//   - a keepalive over 43690 s overflows to a short one; here it is cut.
//
// QoS 0 is refused because nothing would tell the device that its recording was
// lost; it is judged when the packet is read.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/mqtt/pending"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/queue"
)

// Door lets files in; *ingest.Door is one. Called from one goroutine per client;
// must return soon after ctx ends.
type Door interface {
	File(ctx context.Context, from ingest.Source, body []byte) (queue.Receipt, error)
	Hold(ctx context.Context, from ingest.Source, body []byte, why *ingest.Refusal) (queue.Receipt, error)
	Stream(ctx context.Context, from ingest.Source, body io.Reader) (queue.Receipt, error)
	HoldStream(ctx context.Context, from ingest.Source, digest queue.Digest, size int64, body io.Reader, why *ingest.Refusal) (queue.Receipt, error)
}

// Faults takes notice of what a person should know; *daemon.Faults does.
type Faults interface {
	Raise(wire.Fault)
	Clear(id, where string) bool
}

// Options say how to serve.
type Options struct {
	TLS    *tls.Config // server certificate, and ClientCAs with the devices CA; required
	Door   Door
	Faults Faults
	IDs    *pending.Store // packet ids of QoS 2; required
	Parts  *partial.Store // files that come in chunks; required
	// Standing is what a device hears when it begins to listen; nil: nothing.
	Standing func() []Message
	Log      *slog.Logger

	Clients   int    // connections at once; 0: 32
	MaxPacket uint32 // bytes of a packet, held in memory about twice; 0: 4 MiB
}

// Server serves devices.
type Server struct {
	opt    Options
	broker atomic.Pointer[mochi.Server] // nil: it is not running
}

// New returns a Server. A TLS configuration that would let in a device without
// certificate is an error.
func New(o Options) (*Server, error) {
	if o.TLS == nil || o.TLS.ClientCAs == nil || len(o.TLS.Certificates) == 0 && o.TLS.GetCertificate == nil {
		return nil, errors.New("mqtt: TLS needs a server certificate and the devices CA")
	}
	if o.IDs == nil || o.Parts == nil {
		return nil, errors.New("mqtt: QoS 2 needs a store of packet ids, chunks one of parts")
	}
	o.TLS = o.TLS.Clone()
	o.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	o.TLS.MinVersion = tls.VersionTLS12 // what devices of ten years' service life speak
	o.TLS.NextProtos = nil              // a device that names "mqtt" must not be turned away for it
	if o.Clients == 0 {
		o.Clients = 32
	}
	if o.MaxPacket == 0 {
		o.MaxPacket = 4 << 20
	}
	return &Server{opt: o}, nil
}

// Serve answers what l accepts until ctx ends, then closes the clients and returns
// when none is left. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	broker := mochi.New(&mochi.Options{
		Capabilities: capabilities(s.opt),
		Logger:       slog.New(discreet{s.opt.Log.Handler()}),
		// Statistics stop the world each time; an hour apart they don't matter.
		SysTopicResendInterval: 3600,
		InlineClient:           true, // it is how the gateway itself speaks; see say.go
	})
	h := &hook{ctx: ctx, broker: broker, door: s.opt.Door, faults: s.opt.Faults, ids: s.opt.IDs, parts: s.opt.Parts, standing: s.opt.Standing, log: s.opt.Log}
	if err := broker.AddHook(h, nil); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	in := newListener(l, s.opt.TLS, s.opt.Clients, s.opt.Log)
	if err := broker.AddListener(in); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	if err := broker.Serve(); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	s.broker.Store(broker)
	defer s.broker.Store(nil)
	var err error
	select {
	case <-ctx.Done():
	case err = <-in.failed:
	}
	return errors.Join(err, broker.Close())
}

func capabilities(o Options) *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = int64(o.Clients)
	c.MaximumPacketSize = o.MaxPacket
	c.MaximumQos = 2
	c.MaximumSessionExpiryInterval = uint32(time.Minute / time.Second) // of the broker's own sessions; see once.go
	c.ReceiveMaximum = receiveMaximum
	c.MaximumInflight = 16
	c.MaximumClientWritesPending = 64
	c.TopicAliasMaximum = 0 // the ACL sees topics, not aliases
	c.RetainAvailable = 0
	c.SharedSubAvailable = 0
	c.MinimumProtocolVersion = 4
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return c
}
