// Package discovery exchanges the messages between routers and hosts of one link
// (RFC 4861): it asks a provider's routers and hears them, or is asked by the
// clinic's hosts and answers. A flood of such messages costs the reading of a few
// a second, and a liar beyond the link is not heard.
package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"clinicgate/netd/advert"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// Conn is one socket on one device. Its methods may be called at the same time.
type Conn struct {
	conn    *net.IPConn
	packets *ipv6.PacketConn
	dev     *net.Interface
	trusted atomic.Pointer[netip.Addr]
}

// Ask opens a socket that hears router advertisements on dev; Answer one that
// hears router solicitations. They need CAP_NET_RAW.
func Ask(ctx context.Context, dev string) (*Conn, error) {
	return open(ctx, dev, ipv6.ICMPTypeRouterAdvertisement, allNodes)
}

// Answer is described at Ask.
func Answer(ctx context.Context, dev string) (*Conn, error) {
	return open(ctx, dev, ipv6.ICMPTypeRouterSolicitation, allRouters)
}

func open(ctx context.Context, dev string, hear ipv6.ICMPType, group netip.Addr) (*Conn, error) {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, fmt.Errorf("router discovery on %s: %w", dev, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev) })
		return errors.Join(ctl, err)
	}}
	conn, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("router discovery on %s: %w", dev, err)
	}
	c := &Conn{conn: conn.(*net.IPConn), packets: ipv6.NewPacketConn(conn), dev: ifi}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(hear)
	err = errors.Join(c.packets.SetICMPFilter(&filter), c.packets.SetControlMessage(ipv6.FlagHopLimit, true),
		c.packets.SetHopLimit(255), c.packets.SetMulticastHopLimit(255), c.packets.SetMulticastLoopback(false),
		c.packets.SetMulticastInterface(ifi), c.packets.JoinGroup(ifi, &net.IPAddr{IP: group.AsSlice()}))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("router discovery on %s: %w", dev, err)
	}
	return c, nil
}

// Close ends what hears.
func (c *Conn) Close() error { return c.conn.Close() }

// Trust names the router in use: what it says is read though a flood goes on.
func (c *Conn) Trust(router netip.Addr) { c.trusted.Store(&router) }

// Solicit asks the routers of the link to advertise themselves.
func (c *Conn) Solicit() error {
	rs := &ndp.RouterSolicitation{}
	if len(c.dev.HardwareAddr) == 6 {
		rs.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: c.dev.HardwareAddr}}
	}
	b, err := ndp.MarshalMessage(rs)
	if err != nil {
		return fmt.Errorf("solicit on %s: %w", c.dev.Name, err)
	}
	return c.send(b, allRouters)
}

// Advertise tells the link a; to one host if it is valid, or to all.
func (c *Conn) Advertise(a advert.Advert, to netip.Addr) error {
	b, err := marshalAdvert(a, c.dev.HardwareAddr)
	if err != nil {
		return fmt.Errorf("advertise on %s: %w", c.dev.Name, err)
	}
	if !to.IsValid() {
		to = allNodes
	}
	return c.send(b, to)
}

func (c *Conn) send(b []byte, to netip.Addr) error {
	_, err := c.packets.WriteTo(b, nil, &net.IPAddr{IP: to.AsSlice(), Zone: c.dev.Name})
	if err != nil {
		return fmt.Errorf("router discovery on %s: %w", c.dev.Name, err)
	}
	return nil
}

// Routers calls heard with what routers say, from one goroutine, until Close.
func (c *Conn) Routers(heard func(from netip.Addr, a advert.Advert)) error {
	return c.receive(func(b []byte, from netip.Addr, hops int) {
		if a, err := parseAdvert(b, from, hops); err == nil {
			heard(from, a)
		}
	})
}

// Hosts calls asked with the address of each host that asks, which may be the
// unspecified one, from one goroutine, until Close.
func (c *Conn) Hosts(asked func(from netip.Addr)) error {
	return c.receive(func(b []byte, from netip.Addr, hops int) {
		if err := parseSolicit(b, from, hops); err == nil {
			asked(from)
		}
	})
}

// So many messages a second are read: of the trusted router, and of all others.
const perSecond = 10

func (c *Conn) receive(read func(b []byte, from netip.Addr, hops int)) error {
	var strangers, trusted budget
	buf := make([]byte, 1500)
	for {
		n, cm, src, err := c.packets.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("router discovery on %s: %w", c.dev.Name, err)
		}
		addr, ok := src.(*net.IPAddr)
		if !ok || cm == nil {
			continue
		}
		from, _ := netip.AddrFromSlice(addr.IP)
		purse := &strangers
		if t := c.trusted.Load(); t != nil && *t == from {
			purse = &trusted
		}
		if purse.spend(time.Now()) {
			read(buf[:n], from, cm.HopLimit)
		}
	}
}

// A budget is spent at most perSecond times a second.
type budget struct {
	since time.Time
	spent int
}

func (b *budget) spend(now time.Time) bool {
	if now.Sub(b.since) >= time.Second {
		b.since, b.spent = now, 0
	}
	b.spent++
	return b.spent <= perSecond
}
