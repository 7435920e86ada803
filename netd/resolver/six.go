package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"clinicgate/netd/config"

	"golang.org/x/net/ipv6"
)

// A Network is one of the IPv6 networks of a zone.
type Network struct {
	Zone   string
	Prefix netip.Prefix
}

// Networks takes in where devices are in IPv6: providers give other prefixes as they
// like. The list is the server's from now on.
func (s *Server) Networks(nets []Network) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nets = nets
}

// zone returns the zone that a device is in; false: it is none of the clinic's.
func (s *Server) zone(from netip.Addr) (config.Zone, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(from)
}

// find is zone; the lock is held. An address of the link is its zone's by the device
// that it came in by.
func (s *Server) find(from netip.Addr) (config.Zone, bool) {
	if from.Is4() {
		return s.names.Zone(from)
	}
	i := slices.IndexFunc(s.cfg.Zones, func(z config.Zone) bool {
		if from.IsLinkLocalUnicast() {
			return from.Zone() == z.Port || slices.Contains(z.Virtual, from.Zone())
		}
		in := func(n Network) bool { return n.Zone == z.Name && n.Prefix.Contains(from) }
		return slices.ContainsFunc(s.nets, in)
	})
	if i < 0 {
		return config.Zone{}, false
	}
	return s.cfg.Zones[i], true
}

// serve6 answers by IPv6. The box's addresses come and go with its providers, so one
// socket is for all of them; the firewall lets in what comes from the zones.
func (s *Server) serve6(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const any = "[::]:53"
	var lc net.ListenConfig
	udp, err := lc.ListenPacket(ctx, "udp6", any)
	if err != nil {
		return fmt.Errorf("DNS on %s: %w", any, err)
	}
	tcp, err := lc.Listen(ctx, "tcp6", any)
	if err != nil {
		udp.Close()
		return fmt.Errorf("DNS on %s: %w", any, err)
	}
	p := ipv6.NewPacketConn(udp)
	if err := p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true); err != nil {
		udp.Close()
		tcp.Close()
		return fmt.Errorf("DNS on %s: %w", any, err)
	}
	ended := make(chan error, 2)
	go func() { ended <- s.datagrams6(ctx, p) }()
	go func() { ended <- s.streams(ctx, tcp) }()
	s.opened(six)
	left := cap(ended)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
		left--
	}
	udp.Close()
	tcp.Close()
	for range left {
		<-ended
	}
	return err
}

// datagrams6 is datagrams for a socket with many addresses: an answer comes from the
// one that was asked, and by the device that the question came in by.
func (s *Server) datagrams6(ctx context.Context, p *ipv6.PacketConn) error {
	buf := make([]byte, maxRequest)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive DNS: %w", err)
		}
		if cm == nil || cm.Dst.IsMulticast() {
			continue
		}
		back := &ipv6.ControlMessage{Src: cm.Dst, IfIndex: cm.IfIndex}
		s.take(ctx, buf[:n], from.(*net.UDPAddr).AddrPort().Addr(), func(out []byte) {
			_, _ = p.WriteTo(out, back, from) // it asks again
		})
	}
}
