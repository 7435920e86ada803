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
)

// A line is an open port: the sockets of one device with one own address, and the
// two goroutines that read them. When either changes, another line is plugged.
type line struct {
	index int
	self  netip.Addr
	conn  *packet.Conn
	voice voice
	deaf  atomic.Bool // a reader gave up; the next look plugs another line
}

// received is one message, or what was wrong with a packet.
type received struct {
	line   *line
	from   netip.Addr
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
	conn, err := packet.Open(p.Index, p.Name, self)
	if err != nil {
		return nil, err
	}
	v, err := openVoice(p, self)
	if err != nil {
		conn.Close()
		return nil, err
	}
	l := &line{index: p.Index, self: self, conn: conn, voice: v}
	go l.readAdverts(g.inbox)
	go l.readClaims(g.claims, g.hosts())
	return l, nil
}

// A voice says where an address is, and hears others say so: ARP, or neighbour
// advertisements.
type voice interface {
	Say(netip.Addr) error
	Hear() (netip.Addr, net.HardwareAddr, error)
	Close() error
}

func openVoice(p port.Port, self netip.Addr) (voice, error) {
	if self.Is6() {
		return announce.OpenNeighbor(p.Index, p.Name, p.MAC)
	}
	return announce.OpenARP(p.Index, p.MAC)
}

func (l *line) close() {
	l.conn.Close()
	l.voice.Close()
}

// readAdverts hands on every packet until the line is closed. When the group is
// behind by a whole inbox the newest is dropped: the next comes in an interval.
func (l *line) readAdverts(inbox chan<- received) {
	for {
		b, from, err := l.conn.Receive()
		r := received{line: l, from: from, err: err, reason: "packet"}
		switch {
		case err == nil:
			if r.msg, r.form, r.err = advert.Parse(b, from, packet.Group(from)); r.err != nil {
				r.reason = reason(r.err)
			}
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
// closed.
func (l *line) readClaims(claims chan<- claim, shared []netip.Addr) {
	for {
		addr, mac, err := l.voice.Hear()
		if errors.Is(err, unix.ENETDOWN) { // said once; the socket works again with the link
			continue
		}
		if err != nil {
			l.deaf.Store(true)
			return
		}
		if slices.Contains(shared, addr) {
			select {
			case claims <- claim{addr, mac}:
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
