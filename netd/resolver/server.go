// Package resolver answers the DNS questions of the clinic's devices: with the
// clinic's own names, with what it remembers, and with what the providers' name
// servers say. While nobody can be asked it goes on with what it remembers
// (RFC 8767), also after a power cut. It answers the clinic's networks only, never
// claims to have checked a signature, and passes no answer on that would lead a
// browser from outside into the clinic.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/netd/config"
	"clinicgate/netd/rate"
	"clinicgate/netd/resolver/cache"
	"clinicgate/netd/resolver/names"
	"clinicgate/netd/resolver/upstream"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Bounds of what is kept and done at a time.
const (
	maxNames    = 10_000
	maxBytes    = 4 << 20
	maxAtOnce   = 1024 // questions that wait
	maxOne      = 64   // ... of one device
	maxConns    = 128
	maxConnsOne = 8 // of one device
	maxRequest  = 4096
	maxPerConn  = 200
	idle        = 10 * time.Second // RFC 7766 §6.2.3
	saveEvery   = 10 * time.Minute
)

// perDevice is how often one device is answered: a browser asks for some dozens of
// names at once.
var perDevice = rate.Limit{PerSecond: 100, Burst: 400, Keys: 2048}

// Server is the resolver of one box. Make it with New.
type Server struct {
	cfg   config.Config
	path  string // of the stored cache
	log   *slog.Logger
	names *names.Names
	inner []netip.Prefix // reached by the routing table alone
	mark  func(way int) uint32
	ctx   context.Context // of Run
	ask   func(context.Context, upstream.Server, question) (*dns.Msg, error)
	hands sync.WaitGroup // flights and answers
	slots chan struct{}

	mu      sync.Mutex // guards what follows
	now     func() time.Time
	cache   *cache.Cache
	saved   int // cache.Changes when it was stored
	records *upstream.Records
	ways    []upstream.Way
	active  int
	nets    []Network
	flights map[cache.Key]*flight
	failed  map[cache.Key]time.Time
	rates   *rate.Table[netip.Addr]
	conns   map[netip.Addr]int
	waiting map[netip.Addr]int // questions by UDP, of a device
	count   counts
	broken  [2]string // why nobody is answered by IPv4, and IPv6; empty: they are
	unsaved string    // why the cache is not stored; empty: it is
	open    [2]bool   // the sockets are
	lacking time.Time // when a name server was last missed
	silent  time.Time // since when none answers; zero: one does
	staleAt time.Time // when an old answer was last given
}

type counts struct{ hits, asked, local, stale, rebinds, limited uint64 }

// New returns a resolver for the configuration, which has DNS. path is where its
// memory is stored, mark the fwmark of each uplink.
func New(c config.Config, path string, mark func(way int) uint32, log *slog.Logger) *Server {
	s := &Server{
		cfg: c, path: path, log: log.With("part", "dns"), names: names.New(c), mark: mark, now: time.Now, active: -1,
		slots: make(chan struct{}, maxAtOnce), cache: cache.New(maxNames, maxBytes, c.DNS.MaxStale), records: upstream.New(),
		flights: map[cache.Key]*flight{}, failed: map[cache.Key]time.Time{}, conns: map[netip.Addr]int{}, waiting: map[netip.Addr]int{},
		rates: rate.New[netip.Addr](perDevice, time.Now()),
	}
	for _, z := range c.Zones {
		s.inner = append(s.inner, z.Address.Masked())
	}
	for _, t := range c.Tunnels {
		s.inner = append(s.inner, t.Routes...)
	}
	s.ask = s.exchange
	s.load()
	return s
}

// load takes in what was stored; what is not whole is left.
func (s *Server) load() {
	fi, err := os.Stat(s.path)
	if err != nil || fi.Size() > cache.MaxStored {
		return
	}
	b, err := os.ReadFile(s.path)
	if err == nil {
		err = s.cache.Load(b, s.now())
	}
	if err != nil {
		s.log.Warn("stored answers", "err", err)
	}
	s.saved = s.cache.Changes
}

// save stores the memory if there is something new in it. Stop here: the old or
// the new one.
func (s *Server) save() {
	s.mu.Lock()
	changes := s.cache.Changes
	if changes == s.saved {
		s.mu.Unlock()
		return
	}
	b := s.cache.Save()
	s.mu.Unlock()
	err := durable.WriteFile(s.path, b, 0o600)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = ""
	if err != nil {
		s.unsaved = err.Error()
		return
	}
	s.saved = changes
}

// Follow takes in what is known of the uplinks, in the order of the configuration,
// and which of them new flows take.
func (s *Server) Follow(ways []upstream.Way, active int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ways, s.active = ways, active
	s.records.Keep(s.known())
}

// known are all servers that may be asked by any uplink. The lock is held.
func (s *Server) known() []upstream.Server {
	ways := slices.Clone(s.ways)
	for i := range ways {
		ways[i].Usable = true
	}
	all := upstream.List(s.cfg.DNS.Upstream, s.near, ways, s.active)
	for _, z := range s.cfg.DNS.Zones {
		all = append(all, upstream.List(z.Servers, s.near, withoutServers(ways), s.active)...)
	}
	return all
}

// way is what a socket by an uplink is bound to.
func (s *Server) way(i int) (port string, mark uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < len(s.ways) {
		port = s.ways[i].Port
	}
	return port, s.mark(i)
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.save()
	defer s.hands.Wait()
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	s.hands.Go(func() {
		tick := time.NewTicker(saveEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.save()
			}
		}
	})
	if s.cfg.HasSix() {
		s.hands.Go(func() { s.keep(ctx, six, s.serve6) })
	}
	s.keep(ctx, four, s.serve)
	return nil
}

// The families, as indices.
const (
	four = iota
	six
)

// keep serves one family until ctx ends. While a socket can't be opened it tries again.
func (s *Server) keep(ctx context.Context, family int, serve func(context.Context) error) {
	for ctx.Err() == nil {
		err := serve(ctx)
		s.mu.Lock()
		s.open[family], s.broken[family] = false, ""
		if err != nil && ctx.Err() == nil {
			s.broken[family] = err.Error()
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// opened tells that a family's sockets are.
func (s *Server) opened(family int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[family], s.broken[family] = true, ""
}

// serve opens a socket for each of the box's addresses, whether it has the address
// now or not: one bound to its address answers from that address, by whatever
// device the question came.
func (s *Server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closers []func() error
	var readers sync.WaitGroup
	defer func() {
		for _, c := range closers {
			c()
		}
		readers.Wait()
	}()
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(ctl, err)
	}}
	ended := make(chan error, 64)
	for _, a := range s.addresses() {
		udp, err := lc.ListenPacket(ctx, "udp4", a)
		if err != nil {
			return fmt.Errorf("DNS on %s: %w", a, err)
		}
		closers = append(closers, udp.Close)
		tcp, err := lc.Listen(ctx, "tcp4", a)
		if err != nil {
			return fmt.Errorf("DNS on %s: %w", a, err)
		}
		closers = append(closers, tcp.Close)
		readers.Go(func() { ended <- s.datagrams(ctx, udp.(*net.UDPConn)) })
		readers.Go(func() { ended <- s.streams(ctx, tcp) })
	}
	s.opened(four)
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func (s *Server) addresses() []string {
	var all []string
	for _, z := range s.cfg.Zones {
		for _, a := range []netip.Addr{z.Address.Addr(), z.Gateway()} {
			if text := netip.AddrPortFrom(a, 53).String(); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// wait counts a device's question that waits for its answer, unless there are too
// many; done ends it. One device must not take all flights.
func (s *Server) wait(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[from] >= maxOne {
		s.count.limited++
		return false
	}
	s.waiting[from]++
	return true
}

func (s *Server) done(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[from]--; s.waiting[from] <= 0 {
		delete(s.waiting, from)
	}
}

// allowed takes one from a device's allowance.
func (s *Server) allowed(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.rates.Allow(from, s.now())
	if !ok {
		s.count.limited++
	}
	return ok
}

// datagrams answers by UDP. Who asks too often, or when too many wait, hears
// nothing: whoever it is asks again.
func (s *Server) datagrams(ctx context.Context, conn *net.UDPConn) error {
	buf := make([]byte, maxRequest)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive DNS: %w", err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		s.take(ctx, buf[:n], from.Addr(), func(out []byte) {
			_, _ = conn.WriteToUDPAddrPort(out, from) // it asks again
		})
	}
}

// take answers one datagram of a device by itself.
func (s *Server) take(ctx context.Context, b []byte, from netip.Addr, send func(out []byte)) {
	if _, inside := s.zone(from); !inside || !s.allowed(from) || !s.wait(from) {
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.done(from)
		return
	}
	b = slices.Clone(b)
	s.hands.Go(func() {
		defer func() { <-s.slots }()
		defer s.done(from)
		if out := s.respond(ctx, b, from, udpSize); out != nil {
			send(out)
		}
	})
}

// streams answers by TCP (RFC 7766), a device's questions one after the other.
func (s *Server) streams(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept DNS: %w", err)
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.enter(from) {
			conn.Close()
			continue
		}
		s.hands.Go(func() {
			defer s.leave(from)
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.stream(ctx, conn, from)
		})
	}
}

func (s *Server) stream(ctx context.Context, conn net.Conn, from netip.Addr) {
	for range maxPerConn {
		if conn.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		b, err := readFrame(conn, maxRequest)
		if err != nil || !s.allowed(from) {
			return
		}
		out := s.respond(ctx, b, from, 1<<16-1)
		if out == nil {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...)); err != nil {
			return
		}
	}
}

// enter counts a connection, unless there are too many.
func (s *Server) enter(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, n := range s.conns {
		total += n
	}
	if _, inside := s.find(from); !inside || total >= maxConns || s.conns[from] >= maxConnsOne {
		return false
	}
	s.conns[from]++
	return true
}

func (s *Server) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[from]--; s.conns[from] <= 0 {
		delete(s.conns, from)
	}
}
