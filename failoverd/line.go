package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/announce"
	"clinicgate/failoverd/packet"
	"clinicgate/failoverd/port"
	"clinicgate/failoverd/vmac"
)

// A line is an open port: the sockets of one device with one own address, and the
// goroutines that read them. When either changes, another line is plugged.
type line struct {
	index int
	self  netip.Addr
	conn  *packet.Conn
	voice voice
	seat  seat
	deaf  atomic.Bool // a reader gave up; the next look plugs another line
}

// received is one message, or what was wrong with a packet.
type received struct {
	line   *line
	from   netip.Addr
	mac    net.HardwareAddr
	msg    advert.Message
	form   advert.Form
	err    error
	reason string // of err, for counting
}

// claim is an address that another machine says to have.
type claim struct {
	addr netip.Addr
	mac  net.HardwareAddr
}

// plug opens the port and starts to read.
func plug(p port.Port, self netip.Addr, g *group) (*line, error) {
	l := &line{index: p.Index, self: self, seat: seat{index: p.Index, device: p.Name, mac: p.MAC}}
	if err := l.open(p, g); err != nil {
		l.close()
		return nil, err
	}
	go l.readAdverts(l.conn, g.inbox)
	go l.readClaims(l.voice, g)
	if l.seat.virtual() {
		go l.readAdverts(l.seat.conn, g.inbox)
		go l.readClaims(l.seat.voice, g)
	}
	return l, nil
}

func (l *line) open(p port.Port, g *group) (err error) {
	if l.conn, err = packet.Open(p.Index, p.Name, l.self, g.cfg.Unicast); err != nil {
		return err
	}
	if l.voice, err = openVoice(p.Index, p.Name, p.MAC, l.self.Is6()); err != nil {
		return err
	}
	l.seat.voice = l.voice
	if !g.cfg.Virtual {
		return nil
	}
	six := l.self.Is6()
	s := seat{device: vmac.Name(g.cfg.VRID, six), mac: vmac.MAC(g.cfg.VRID, six)}
	if s.index, err = vmac.Make(p.Index, p.Name, g.cfg.VRID, six); err != nil {
		return err
	}
	if s.conn, err = packet.Open(s.index, s.device, l.self, g.cfg.Unicast); err != nil {
		return err
	}
	l.seat = s
	l.seat.voice, err = openVoice(s.index, s.device, s.mac, six)
	return err
}

// A voice says where an address is, and hears others say so, by ARP or by neighbour
// discovery. It can ask a machine whether it is there, and answer for addresses which
// are on no device.
type voice interface {
	Say(netip.Addr) error
	Hear() (netip.Addr, net.HardwareAddr, error)
	Ask(self, addr netip.Addr) error
	Answer([]netip.Addr)
	Close() error
}

func openVoice(index int, device string, mac net.HardwareAddr, six bool) (voice, error) {
	if six {
		return announce.OpenNeighbor(index, device, mac)
	}
	return announce.OpenARP(index, mac)
}

// close leaves a virtual device where it is: the next line may take it over.
func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.voice != nil {
		l.voice.Close()
	}
	if l.seat.virtual() {
		l.seat.conn.Close()
		if l.seat.voice != nil {
			l.seat.voice.Close()
		}
	}
}

// readAdverts hands on every packet until the line is closed. When the group is
// behind by a whole inbox the newest is dropped: the next comes in an interval.
func (l *line) readAdverts(conn *packet.Conn, inbox chan<- received) {
	for {
		p, err := conn.Receive()
		r := received{line: l, from: p.From, mac: slices.Clone(p.MAC[:]), err: err, reason: "packet"}
		switch {
		case err == nil:
			if r.msg, r.form, r.err = advert.Parse(p.Msg, p.From, p.To); r.err != nil {
				r.reason = reason(r.err)
			}
		case errors.Is(err, unix.ENETDOWN):
			continue
		case !errors.Is(err, packet.ErrForeign): // closed, or the device went away
			l.deaf.Store(true)
			return
		}
		select {
		case inbox <- r:
		default:
		}
	}
}

// readClaims hands on who claims one of the shared addresses, until the line is
// closed. The virtual hardware address is the other box's as much as ours.
func (l *line) readClaims(v voice, g *group) {
	shared := g.hosts()
	for {
		addr, mac, err := v.Hear()
		if errors.Is(err, unix.ENETDOWN) { // said once; the socket works again with the link
			continue
		}
		if err != nil {
			l.deaf.Store(true)
			return
		}
		switch {
		case slices.Equal(mac, l.seat.mac):
		case !slices.Contains(shared, addr):
			g.neighbor(addr)
		default:
			select {
			case g.claims <- claim{addr, mac}:
			default:
			}
		}
	}
}

// reason names the cause of a refusal for the counter.
func reason(err error) string {
	for _, cause := range [...]error{
		advert.ErrLength, advert.ErrVersion, advert.ErrChecksum, advert.ErrCount, advert.ErrInterval, advert.ErrAddress,
	} {
		if errors.Is(err, cause) {
			return cause.Error()
		}
	}
	return "other"
}
