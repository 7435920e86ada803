package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Prober is one socket on one device. A device that vanished and came back needs
// a new one. Send and Receive may run at the same time.
type Prober struct {
	conn    *net.IPConn
	targets []netip.Addr
	self    echo // id and cookie, round 0
}

// Open makes a prober whose packets leave by dev only, with the mark that chooses
// its uplink's routing table. It needs CAP_NET_RAW and CAP_NET_ADMIN.
func Open(ctx context.Context, dev string, mark uint32, targets []netip.Addr) (*Prober, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = bind(int(fd), dev, mark) }); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("open probe on %s: %w", dev, err)
	}
	var seed [10]byte
	rand.Read(seed[:]) // never fails
	return &Prober{
		conn: conn.(*net.IPConn), targets: targets,
		self: echo{id: binary.BigEndian.Uint16(seed[:]), cookie: binary.BigEndian.Uint64(seed[2:])},
	}, nil
}

// icmpFilter is ICMP_FILTER of linux/icmp.h: a set bit keeps the type out.
const icmpFilter = 1

func bind(fd int, dev string, mark uint32) error {
	if err := bindTo(fd, dev, mark); err != nil {
		return err
	}
	// Whatever else pings do on this port must cost us nothing.
	keep := ^uint32(1 << typeEchoReply)
	if err := unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(keep))); err != nil {
		return fmt.Errorf("set filter: %w", err)
	}
	return nil
}

// bindTo keeps a socket to one device and one routing table.
func bindTo(fd int, dev string, mark uint32) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev); err != nil {
		return fmt.Errorf("bind to device: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("set mark: %w", err)
	}
	return nil
}

// Close ends Receive.
func (p *Prober) Close() error { return p.conn.Close() }

// Send sends one round: an echo to each target. That one target can't be reached
// is no error while another could be asked.
func (p *Prober) Send(round uint64) error {
	e := p.self
	e.round = round
	b := e.marshal()
	var errs []error
	for _, t := range p.targets {
		if _, err := p.conn.WriteToIP(b, &net.IPAddr{IP: t.AsSlice()}); err != nil {
			errs = append(errs, fmt.Errorf("probe %s: %w", t, err))
		}
	}
	if len(errs) == len(p.targets) {
		return errors.Join(errs...)
	}
	return nil
}

// SendOne sends a round that is one echo, to another target each time.
func (p *Prober) SendOne(round uint64) error {
	e, t := p.self, p.targets[round%uint64(len(p.targets))]
	e.round = round
	if _, err := p.conn.WriteToIP(e.marshal(), &net.IPAddr{IP: t.AsSlice()}); err != nil {
		return fmt.Errorf("probe %s: %w", t, err)
	}
	return nil
}

// Receive calls answered with the round of each answer that comes from a target
// and carries our cookie, from one goroutine, until Close.
func (p *Prober) Receive(answered func(round uint64)) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive probe answers: %w", err)
		}
		if round, ok := p.check(from, buf[:n]); ok {
			answered(round)
		}
	}
}

func (p *Prober) check(from *net.IPAddr, b []byte) (uint64, bool) {
	e, err := parse(b)
	if err != nil || e.id != p.self.id || e.cookie != p.self.cookie {
		return 0, false
	}
	src, _ := netip.AddrFromSlice(from.IP)
	for _, t := range p.targets {
		if t == src.Unmap() {
			return e.round, true
		}
	}
	return 0, false
}
