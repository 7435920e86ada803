package timeserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"clinicgate/netd/clock"
	"clinicgate/netd/ntp"

	"golang.org/x/sys/unix"
)

// A Way is the uplink by which servers are asked.
type Way struct {
	Port string
	Mark uint32
}

// answerTime bounds one exchange.
const answerTime = 2 * time.Second

// errKiss is a server's wish not to be asked (RFC 5905 §7.4).
var errKiss = errors.New("the server does not want to be asked")

// exchange asks one server once. What it is sent is a random number instead of our
// time: nobody learns how wrong the clock is, and an answer must repeat it.
func exchange(ctx context.Context, to netip.AddrPort, way Way, now func() time.Time) (clock.Sample, error) {
	d := net.Dialer{Timeout: answerTime, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) {
			if way.Port != "" {
				err = errors.Join(unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, way.Port),
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(way.Mark)))
			}
		})
		return errors.Join(ctl, err)
	}}
	conn, err := d.DialContext(ctx, "udp4", to.String())
	if err != nil {
		return clock.Sample{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails
	ask := ntp.Packet{Version: 4, Mode: ntp.Client, Poll: 6, Transmit: ntp.Time(binary.BigEndian.Uint64(nonce[:]))}
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return clock.Sample{}, err
	}
	sent := now()
	if _, err := conn.Write(ask.Marshal()); err != nil {
		return clock.Sample{}, err
	}
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf)
		got := now()
		if err != nil {
			return clock.Sample{}, err
		}
		p, err := ntp.Parse(buf[:n])
		if err != nil || p.Mode != ntp.Server || p.Origin != ask.Transmit {
			continue // a guess; the time runs
		}
		return measure(p, sent, got)
	}
}

// measure is RFC 5905 §8. How long it took is measured by the clock that nobody
// sets; a clock that was set meanwhile spoils nothing else.
func measure(p ntp.Packet, sent, got time.Time) (clock.Sample, error) {
	switch {
	case p.Stratum == 0:
		return clock.Sample{}, fmt.Errorf("%w: %q", errKiss, p.RefID[:])
	case p.Leap == ntp.Unsynchronised:
		return clock.Sample{}, errors.New("the server has no time itself")
	case p.Transmit == 0 || p.Receive == 0:
		return clock.Sample{}, errors.New("the server sends no time")
	}
	whole, inside := got.Sub(sent), p.Transmit.Sub(p.Receive)
	if inside < 0 || inside > whole {
		return clock.Sample{}, fmt.Errorf("the server took %v of %v", inside, whole)
	}
	there, back := p.Receive.Sub(ntp.ToTime(sent)), p.Transmit.Sub(ntp.ToTime(sent.Add(whole)))
	return clock.Sample{
		Offset: (there + back) / 2, Delay: whole - inside, Root: p.RootDelay/2 + p.RootDispersion, Stratum: p.Stratum, At: got,
	}, nil
}

// A peer is one server with its history.
type peer struct {
	addr  netip.Addr
	name  string // in the site file
	since clock.Source
	after time.Time // not asked before: it said so
}

// Times of asking.
const (
	firstRounds = 4 // quickly, to have a time soon
	quick       = 2 * time.Second
	seldom      = 1024 * time.Second
	usual       = 64 * time.Second
	good        = 5 * time.Millisecond // then it may be asked more seldom
	kissTime    = time.Hour
	lookAgain   = time.Hour // names are looked up
	maxPeers    = 8
)

// ask has every server asked once, side by side.
func (s *Server) ask(ctx context.Context, peers []*peer, way Way) {
	type result struct {
		x   clock.Sample
		err error
	}
	results := make([]result, len(peers))
	var all sync.WaitGroup
	for i, p := range peers {
		if s.now().Before(p.after) {
			results[i].err = errKiss
			continue
		}
		all.Go(func() {
			results[i].x, results[i].err = s.exchange(ctx, netip.AddrPortFrom(p.addr, ntp.Port), way)
		})
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range peers {
		r := results[i]
		switch {
		case r.err == nil:
			r.x.RefID = p.addr.As4()
			p.since.Add(r.x, "")
		case errors.Is(r.err, errKiss):
			p.since.Missed(r.err.Error())
			p.after = s.now().Add(kissTime)
		default:
			p.since.Missed(r.err.Error())
		}
	}
}

// find returns the servers to ask: those of before with their histories, and new
// ones. A name stands for all its addresses, up to the bound.
func (s *Server) find(ctx context.Context, old []*peer) []*peer {
	var list []*peer
	add := func(a netip.Addr, name string) {
		if len(list) >= maxPeers || !a.Is4() || slices.ContainsFunc(list, func(p *peer) bool { return p.addr == a }) {
			return
		}
		i := slices.IndexFunc(old, func(p *peer) bool { return p.addr == a })
		if i >= 0 {
			list = append(list, old[i])
			return
		}
		list = append(list, &peer{addr: a, name: name})
	}
	for _, name := range s.servers {
		if a, err := netip.ParseAddr(name); err == nil {
			add(a, name)
			continue
		}
		addrs, err := s.lookup(ctx, name)
		if err != nil {
			s.log.Info("time server", "name", name, "err", err)
			for _, p := range old { // better an old address than none
				if p.name == name {
					add(p.addr, name)
				}
			}
		}
		for _, a := range addrs {
			add(a, name)
		}
	}
	return list
}
