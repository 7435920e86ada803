package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// ICMPv6's types of echoes (RFC 4443). Their bodies are ours as in ICMP; sums are
// the kernel's to write and to check.
const (
	typeEcho6      = 128
	typeEchoReply6 = 129
)

// Prober6 is a Prober for IPv6.
type Prober6 struct {
	conn    *net.IPConn
	targets []netip.Addr
	self    echo
}

// Open6 makes a prober whose packets leave by dev only, with the mark that chooses
// its uplink's routing table. It needs CAP_NET_RAW and CAP_NET_ADMIN.
func Open6(ctx context.Context, dev string, mark uint32, targets []netip.Addr) (*Prober6, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		})
		return errors.Join(ctl, err)
	}}
	conn, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("open IPv6 probe on %s: %w", dev, err)
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeEchoReply)
	if err := ipv6.NewPacketConn(conn).SetICMPFilter(&filter); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open IPv6 probe on %s: %w", dev, err)
	}
	var seed [10]byte
	rand.Read(seed[:]) // never fails
	return &Prober6{
		conn: conn.(*net.IPConn), targets: targets,
		self: echo{id: binary.BigEndian.Uint16(seed[:]), cookie: binary.BigEndian.Uint64(seed[2:])},
	}, nil
}

// Close ends Receive.
func (p *Prober6) Close() error { return p.conn.Close() }

// Send sends one round: an echo to each target. That one target can't be reached
// is no error while another could be asked.
func (p *Prober6) Send(round uint64) error {
	e := p.self
	e.round = round
	b := e.marshal()
	b[0], b[2], b[3] = typeEcho6, 0, 0
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

// Receive calls answered with the round of each answer that comes from a target
// and carries our cookie, from one goroutine, until Close.
func (p *Prober6) Receive(answered func(round uint64)) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive IPv6 probe answers: %w", err)
		}
		e, err := parse6(buf[:n])
		src, _ := netip.AddrFromSlice(from.IP)
		if err == nil && e.id == p.self.id && e.cookie == p.self.cookie && slices.Contains(p.targets, src) {
			answered(e.round)
		}
	}
}

// parse6 reads a reply: the body is that of ICMP, whose sum is left out here.
func parse6(b []byte) (echo, error) {
	if len(b) != echoLen || b[0] != typeEchoReply6 {
		return echo{}, errNotOurs
	}
	c := slices.Clone(b)
	c[0], c[2], c[3] = typeEchoReply, 0, 0
	binary.BigEndian.PutUint16(c[2:], checksum(c))
	return parse(c)
}
