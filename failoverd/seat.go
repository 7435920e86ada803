package main

import (
	"errors"
	"net"
	"net/netip"

	"clinicgate/failoverd/announce"
	"clinicgate/failoverd/packet"
	"clinicgate/failoverd/vmac"
)

// A seat is where the addresses stand: the port itself, or the device with the
// virtual hardware address on it, which has sockets of its own.
type seat struct {
	index  int
	device string
	mac    net.HardwareAddr
	conn   *packet.Conn // nil: the port's
	voice  voice
}

func (s seat) virtual() bool { return s.conn != nil }

// gone: the guard removes a virtual device when this program stands still.
func (s seat) gone() bool {
	if !s.virtual() {
		return false
	}
	_, err := net.InterfaceByIndex(s.index)
	return err != nil
}

// hold puts addresses on the seat, or renews them. Stop here, between the two: the
// hardware address is taken, and nobody answers for an address at it.
func (s seat) hold(standing []netip.Prefix) error {
	if s.virtual() {
		if err := vmac.Up(s.index); err != nil {
			return err
		}
	}
	return announce.Claim(s.index, s.device, standing)
}

// occupy takes the group's seat.
func (g *group) occupy() error {
	g.answer(g.hosts())
	return g.line.seat.hold(g.standing(g.line))
}

// dummy stands for "here is an IPv4 router" where no address may stand (RFC 7600):
// the kernel checks the source of nothing that comes in by a device without one, and
// drops it.
func dummy() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0, 8}), 32) }

// standing is what stands on the seat while this box is master.
func (g *group) standing(l *line) []netip.Prefix {
	switch {
	case g.cfg.Accept:
		return g.cfg.Addresses
	case l.seat.virtual() && !g.six():
		return []netip.Prefix{dummy()}
	}
	return nil
}

// vacate takes the addresses off their seat.
func (g *group) vacate() error {
	s := g.line.seat
	g.answer(nil)
	err := announce.Release(s.index, s.device, g.standing(g.line))
	if s.virtual() {
		err = errors.Join(err, vmac.Down(s.index))
	}
	return err
}

func (g *group) answer(addrs []netip.Addr) {
	if !g.cfg.Accept {
		g.line.seat.voice.Answer(addrs)
	}
}
