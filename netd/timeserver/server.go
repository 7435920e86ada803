// Package timeserver keeps the box's clock right and tells the clinic's devices
// the time (NTPv4, RFC 5905). It never says to know the time better than it does,
// sends nobody more bytes than it got, and answers the clinic's networks only.
package timeserver

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

	"clinicgate/netd/clock"
	"clinicgate/netd/config"
	"clinicgate/netd/ntp"
	"clinicgate/netd/rate"

	"golang.org/x/sys/unix"
)

// Adjuster changes a clock.
type Adjuster interface {
	Step(by time.Duration) error
	Slew(by time.Duration) error
	Steer(by, bound, every time.Duration) error
}

// Lookup finds the addresses of a name.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// How often a device is answered: a client that starts asks some eight times in a
// row. Who goes on is told so now and then (RFC 5905 §7.4).
var (
	perDevice = rate.Limit{PerSecond: 0.5, Burst: 16, Keys: 2048}
	perKiss   = rate.Limit{PerSecond: 0.1, Burst: 1, Keys: 2048}
)

// Server is the clock and its server. Make it with New.
type Server struct {
	zones    []config.Zone
	servers  []string
	lookup   Lookup
	adjuster Adjuster
	mark     string // a file that says that the clock has been right since the boot
	log      *slog.Logger
	now      func() time.Time
	exchange func(ctx context.Context, to netip.AddrPort, way Way) (clock.Sample, error)

	mu      sync.Mutex // guards what follows
	way     Way
	usable  bool // any uplink is
	peers   []*peer
	last    clock.Verdict // the last one that was good
	at      time.Time     // of it; zero: there was none
	off     time.Duration // of the clock, as far as it was not set right
	judged  clock.Verdict
	denied  string // why the clock can't be set
	far     time.Duration
	started time.Time
	rates   *rate.Table[netip.Addr]
	kisses  *rate.Table[netip.Addr]
	open    bool
	broken  string
	served  uint64
}

// New returns a time server for the configuration, which has NTP. mark is the path
// of a file that does not outlive a boot.
func New(c config.Config, mark string, lookup Lookup, adjuster Adjuster, log *slog.Logger) *Server {
	s := &Server{
		zones: c.Zones, servers: c.NTP.Servers, lookup: lookup, adjuster: adjuster, mark: mark,
		log: log.With("part", "ntp"), now: time.Now, started: time.Now(),
	}
	s.exchange = func(ctx context.Context, to netip.AddrPort, way Way) (clock.Sample, error) {
		return exchange(ctx, to, way, s.now)
	}
	s.rates, s.kisses = rate.New[netip.Addr](perDevice, s.now()), rate.New[netip.Addr](perKiss, s.now())
	return s
}

// Follow says by which uplink servers are asked, and whether any can be used.
func (s *Server) Follow(way Way, usable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.way, s.usable = way, usable
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var keeper sync.WaitGroup
	defer keeper.Wait()
	keeper.Go(func() { s.keep(ctx) })
	for ctx.Err() == nil {
		err := s.serve(ctx)
		s.mu.Lock()
		s.open, s.broken = false, ""
		if err != nil && ctx.Err() == nil {
			s.broken = err.Error()
		}
		s.mu.Unlock()
		sleep(ctx, time.Second)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// keep asks the servers and keeps the clock.
func (s *Server) keep(ctx context.Context) {
	_, err := os.Stat(s.mark)
	d := &clock.Discipline{InUse: err == nil}
	every, rounds := usual, 0
	var looked time.Time
	for ctx.Err() == nil && len(s.servers) > 0 {
		s.mu.Lock()
		way, usable := s.way, s.usable
		s.mu.Unlock()
		if !usable {
			sleep(ctx, quick)
			continue
		}
		if since := s.now().Sub(looked); len(s.peers) == 0 || since > lookAgain || since < 0 {
			found := s.find(ctx, s.peers)
			s.mu.Lock()
			s.peers = found
			s.mu.Unlock()
			looked = s.now()
		}
		s.ask(ctx, s.peers, way)
		rounds++
		every = s.act(d, rounds, every)
		wait := every
		if rounds < firstRounds || !s.synchronised() {
			wait = quick
			if rounds > 8*firstRounds {
				wait = usual / 4
			}
		}
		sleep(ctx, wait)
	}
	<-ctx.Done()
}

// act judges what the servers said, does it to the clock, and returns how long to
// wait for the next time.
func (s *Server) act(d *clock.Discipline, rounds int, every time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	v := clock.Judge(sources(s.peers), now)
	s.judged = v
	if !v.OK() || rounds < 2 && len(s.peers) > 1 {
		return usual
	}
	s.far = 0
	what := d.Decide(v.Offset)
	var err error
	off := time.Duration(0)
	switch what {
	case clock.Wait:
		return quick
	case clock.Leave:
		s.far = v.Offset
		return usual
	case clock.Step:
		if err = s.adjuster.Step(v.Offset); err == nil {
			s.log.Warn("clock set", "by", v.Offset)
			for _, p := range s.peers {
				p.since.Forget()
			}
		}
	case clock.Slew:
		err, off = s.adjuster.Slew(v.Offset), v.Offset
	case clock.Steer:
		err, off = s.adjuster.Steer(v.Offset, v.Bound, every), v.Offset
	}
	s.denied = ""
	if err != nil {
		s.denied, off = err.Error(), v.Offset
	}
	s.last, s.at, s.off = v, s.now(), off
	if err == nil {
		if err := os.WriteFile(s.mark, nil, 0o600); err != nil {
			s.log.Warn("note that the clock is set", "err", err)
		}
	}
	if v.Offset.Abs() > good {
		return usual
	}
	return min(every*2, seldom)
}

func sources(peers []*peer) []*clock.Source {
	all := make([]*clock.Source, len(peers))
	for i, p := range peers {
		all[i] = &p.since
	}
	return all
}

// tolerable is how wrong a clock may be that others are told of.
const tolerable = time.Second

// bound is how wrong the clock may be now; the lock is held.
func (s *Server) bound(now time.Time) time.Duration {
	return s.last.Bound + s.off.Abs() + time.Duration(float64(max(now.Sub(s.at), 0))*clock.Drift)
}

// tells reports whether the clock is good enough to tell others; the lock is held.
func (s *Server) tells(now time.Time) bool {
	return !s.at.IsZero() && s.far == 0 && s.bound(now) <= tolerable
}

func (s *Server) synchronised() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tells(s.now())
}

// serve opens a socket for each of the box's addresses, whether it has the address
// now or not, and answers.
func (s *Server) serve(ctx context.Context) error {
	var conns []*net.UDPConn
	var readers sync.WaitGroup
	defer func() {
		for _, c := range conns {
			c.Close()
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
		c, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(a, ntp.Port).String())
		if err != nil {
			return fmt.Errorf("NTP on %s: %w", a, err)
		}
		conns = append(conns, c.(*net.UDPConn))
		readers.Go(func() { ended <- s.answer(c.(*net.UDPConn)) })
	}
	s.mu.Lock()
	s.open, s.broken = true, ""
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func (s *Server) addresses() []netip.Addr {
	var all []netip.Addr
	for _, z := range s.zones {
		for _, a := range []netip.Addr{z.Address.Addr(), z.Gateway()} {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

func (s *Server) answer(conn *net.UDPConn) error {
	buf := make([]byte, 512)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		got := s.now()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive NTP: %w", err)
		}
		if out, ok := s.respond(buf[:n], from.Addr().Unmap(), got); ok {
			_, _ = conn.WriteToUDPAddrPort(out, from) // it asks again
		}
	}
}

// respond returns the answer to a packet: as long as the shortest question, and only
// to questions. Control and private modes (6, 7) are not known here.
func (s *Server) respond(b []byte, from netip.Addr, got time.Time) ([]byte, bool) {
	q, err := ntp.Parse(b)
	inside := slices.ContainsFunc(s.zones, func(z config.Zone) bool { return z.Address.Contains(from) })
	if err != nil || !inside || q.Mode != ntp.Client && q.Mode != ntp.SymmetricActive {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := ntp.Packet{Version: q.Version, Mode: ntp.Server, Poll: q.Poll, Precision: -20, Origin: q.Transmit, Receive: ntp.ToTime(got)}
	if q.Mode == ntp.SymmetricActive { // old Windows asks so
		p.Mode = ntp.SymmetricPassive
	}
	if !s.rates.Allow(from, got) {
		if !s.kisses.Allow(from, got) {
			return nil, false
		}
		p.Leap, p.RefID = ntp.Unsynchronised, [4]byte{'R', 'A', 'T', 'E'}
	} else if s.tells(got) {
		p.Stratum, p.RefID, p.Reference = s.last.Stratum, s.last.RefID, ntp.ToTime(s.at)
		p.RootDispersion = s.bound(got)
	} else {
		p.Leap, p.RefID, p.RootDispersion = ntp.Unsynchronised, [4]byte{'I', 'N', 'I', 'T'}, 16*time.Second
	}
	s.served++
	p.Transmit = ntp.ToTime(s.now())
	return p.Marshal(), true
}
