// Package dhcpd gives the LAN's devices their addresses by DHCPv4 (RFC 2131).
// Nobody is told of a lease that a power cut could undo, nobody is offered an
// address that somebody answers for, and what strangers send costs a bounded time
// and memory. Which device gets which address is decided by dhcpd/leases.
package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/dhcpd/leases"
	"clinicgate/netd/rate"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Server serves one zone. Make it with New.
type Server struct {
	zone    config.Addresses
	log     *slog.Logger
	servant servant

	mu      sync.Mutex // guards what follows
	table   *leases.Table
	journal *journal
	each    *rate.Table[config.MAC]
	all     *rate.Table[struct{}]
	words   *rate.Table[struct{}] // in the log
	now     func() time.Time
	open    bool   // the sockets are
	broken  string // why nobody is served; empty: they are
	unsaved string // why leases are not stored; empty: they are
}

// How often strangers are answered. A device that boots sends four messages.
var (
	perDevice = rate.Limit{PerSecond: 1, Burst: 10, Keys: 4096}
	together  = rate.Limit{PerSecond: 100, Burst: 300, Keys: 1}
	lines     = rate.Limit{PerSecond: 0.2, Burst: 20, Keys: 1} // in the log
)

// maxProbes bounds the questions that are out at the same time.
const maxProbes = 32

// New returns a server for one zone. path is where its leases are kept.
func New(zone config.Addresses, c config.Config, path string, log *slog.Logger) *Server {
	s := &Server{
		zone: zone, log: log.With("part", "dhcp", "zone", zone.Zone), table: leases.New(zone), now: time.Now,
		servant: servant{server: zone.Gateway, lan: zone.Own, dns: c.DNS != nil, time: c.NTP != nil},
	}
	if c.DNS != nil {
		s.servant.domain = c.DNS.Domain
	}
	s.each, s.all = rate.New[config.MAC](perDevice, s.now()), rate.New[struct{}](together, s.now())
	s.words = rate.New[struct{}](lines, s.now())
	j, stored, torn, err := openJournal(path, s.table.All)
	if err != nil {
		s.unsaved = err.Error()
	}
	if torn > 0 {
		s.log.Warn("stored leases", "not whole", torn, "read", len(stored))
	}
	s.journal = j
	s.table.Load(stored, s.now())
	return s
}

// Answer says whether this box of a pair answers, or only listens.
func (s *Server) Answer(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table.Answers() != yes {
		s.log.Info("DHCP", "answers", yes)
	}
	s.table.Answer(yes, s.now())
}

// Run serves until ctx ends. While the port is missing, or something else holds
// the socket, it tries again.
func (s *Server) Run(ctx context.Context) error {
	defer s.journal.close()
	for ctx.Err() == nil {
		err := s.serve(ctx)
		s.mu.Lock()
		s.open, s.broken = false, ""
		if err != nil && ctx.Err() == nil {
			s.broken = err.Error()
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// errReplugged: the port is another device by now.
var errReplugged = errors.New("the port was replaced")

// serve serves while the port stays the same device.
func (s *Server) serve(ctx context.Context) error {
	ifc, err := net.InterfaceByName(s.zone.Port)
	if err != nil {
		return fmt.Errorf("port %s: %w", s.zone.Port, err)
	}
	out, err := openFrames(ifc)
	if err != nil {
		return err
	}
	defer out.conn.Close()
	around, err := openARP(ifc)
	if err != nil {
		return err
	}
	defer around.conn.Close()
	conns, err := s.listen(ctx)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", s.zone.Port, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()
	h := &hands{s: s, out: out, around: around, probes: &probes, slots: make(chan struct{}, maxProbes)}
	ended := make(chan error, 3)
	go func() { ended <- around.receive() }()
	for _, c := range conns {
		go func() { ended <- h.receive(ctx, c) }()
	}
	s.mu.Lock()
	s.open, s.broken = true, ""
	s.mu.Unlock()
	return s.watch(ctx, ifc.Index, ended)
}

// listen opens the sockets; it returns those that it opened also with an error.
func (s *Server) listen(ctx context.Context) (conns []*net.UDPConn, err error) {
	c, err := listen(ctx, s.zone.Port)
	if err != nil {
		return nil, err
	}
	conns = append(conns, c)
	if s.zone.Gateway != s.zone.Own.Addr() {
		if c, err = listenShared(ctx, s.zone.Gateway); err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// watch returns when serving ended, or the port is another device.
func (s *Server) watch(ctx context.Context, index int, ended <-chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-tick.C:
			if ifc, err := net.InterfaceByName(s.zone.Port); err != nil || ifc.Index != index {
				return errReplugged
			}
		}
	}
}

// hands are what is open while the port is there.
type hands struct {
	s      *Server
	out    *frames
	around *arp
	probes *sync.WaitGroup
	slots  chan struct{}
}

func (h *hands) receive(ctx context.Context, conn *net.UDPConn) error {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive DHCP: %w", err)
		}
		if from.Port() != clientPort {
			continue
		}
		h.take(ctx, buf[:n])
	}
}

// take acts on one message.
func (h *hands) take(ctx context.Context, b []byte) {
	m, q, err := parse(b)
	if err != nil {
		h.s.log.Debug("message dropped", "err", err)
		return
	}
	h.s.mu.Lock()
	now := h.s.now()
	if !h.s.each.Allow(q.MAC, now) || !h.s.all.Allow(struct{}{}, now) {
		h.s.mu.Unlock()
		return
	}
	r := h.s.decide(q, h.s.table.Ask(q, now))
	h.s.mu.Unlock()
	if r.Do == leases.Probe {
		h.probe(ctx, m, q, r.Address)
		return
	}
	h.reply(m, q, r)
}

// decide stores what must outlive a power cut before anyone hears of it. A disk
// that refuses costs the memory of it, not the address.
func (s *Server) decide(q leases.Question, r leases.Reply) leases.Reply {
	if r.Lease != nil {
		s.unsaved = ""
		if err := s.journal.keep(*r.Lease); err != nil {
			s.unsaved = err.Error()
		}
	}
	// Not what it calls itself: that may be a person's name.
	if r.Why != "" && s.words.Allow(struct{}{}, s.now()) {
		s.log.Info("device", "mac", q.MAC.String(), "why", r.Why)
	}
	if r.Do == leases.Ack && r.Lease != nil {
		s.log.Debug("lease", "mac", q.MAC.String(), "address", r.Address, "for", r.Time)
	}
	return r
}

// maxTries bounds the addresses that are asked for on behalf of one message.
const maxTries = 3

// probe asks around beside the other work. When too many questions are out, the
// device has to ask again.
func (h *hands) probe(ctx context.Context, m *dhcpv4.DHCPv4, q leases.Question, a netip.Addr) {
	select {
	case h.slots <- struct{}{}:
	default:
		return
	}
	h.probes.Go(func() {
		defer func() { <-h.slots }()
		for range maxTries {
			busy := h.around.used(ctx, a)
			if ctx.Err() != nil {
				return
			}
			h.s.mu.Lock()
			r := h.s.decide(q, h.s.table.Probed(q, a, busy, h.s.now()))
			h.s.mu.Unlock()
			if busy {
				h.s.log.Debug("an address without a lease is in use", "address", a)
			}
			if r.Do != leases.Probe {
				h.reply(m, q, r)
				return
			}
			a = r.Address
		}
	})
}

// reply sends the answer, if there is one, the way RFC 2131 §4.1 wants it.
func (h *hands) reply(m *dhcpv4.DHCPv4, q leases.Question, r leases.Reply) {
	if r.Do != leases.Offer && r.Do != leases.Ack && r.Do != leases.Nak {
		return
	}
	name := ""
	h.s.mu.Lock()
	if res, ok := h.s.table.Reservation(r.Address); ok {
		name = res.Name
	}
	h.s.mu.Unlock()
	out, err := h.s.servant.answer(m, r, name)
	if err != nil {
		h.s.log.Error("build answer", "err", err)
		return
	}
	mac, dst := destination(m, q, r)
	if err := h.out.send(mac, h.s.servant.server, dst, out.ToBytes()); err != nil {
		h.s.log.Warn("send answer", "to", dst, "err", err)
	}
}

// destination: to the address the device has, to the one it is getting, or to all
// when it can't hear otherwise or must give up what it has.
func destination(m *dhcpv4.DHCPv4, q leases.Question, r leases.Reply) (config.MAC, netip.Addr) {
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case r.Do == leases.Nak:
		return everyone, all
	case q.Has.IsValid():
		return q.MAC, q.Has
	case m.IsBroadcast():
		return everyone, all
	}
	return q.MAC, r.Address
}

// Leases returns what devices have, and had, by address.
func (s *Server) Leases() []wire.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	list := []wire.Lease{}
	for _, l := range s.table.All() {
		w := wire.Lease{Zone: s.zone.Zone, Address: l.Address.String(), MAC: l.MAC.String(), Says: l.Name, Until: l.Expiry().UTC().Truncate(time.Second), Live: !l.Over && now.Before(l.Expiry())}
		if r, ok := s.table.Reservation(l.Address); ok {
			w.Name = r.Name
		}
		list = append(list, w)
	}
	return list
}
