package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/packet"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
)

// shout sends one VRRP packet from a machine, with any TTL.
func shout(s *netns.Space, ttl int, msg []byte) error {
	return s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, advert.Protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl); err != nil {
			return err
		}
		if err := unix.BindToDevice(fd, "lan"); err != nil {
			return err
		}
		return unix.Sendto(fd, msg, 0, &unix.SockaddrInet4{Addr: packet.Group4.As4()})
	})
}

func (n *node) metrics() string {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", filepath.Join(n.dir, "run", "failoverd.sock"))
		},
	}}
	resp, err := client.Get("http://failoverd/metrics")
	n.c.check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	n.c.check(err)
	return string(body)
}

// Packets that must not move a master, each with a priority that would. The
// errata's interval 0 made FRR's vrrpd lose its address for good.
func TestRefusedPackets(t *testing.T) {
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	since := a.group().Since
	good := advert.Message{VRID: 20, Priority: 254, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr(shared)}}
	msg, err := good.Append(nil, advert.RFC9568, netip.MustParseAddr("10.20.0.50"), packet.Group4)
	c.check(err)
	changed := func(f func(b []byte)) []byte {
		b := append([]byte(nil), msg...)
		f(b)
		b[6], b[7] = 0, 0
		var s uint32
		for i := 0; i < len(b); i += 2 {
			s += uint32(b[i])<<8 | uint32(b[i+1])
		}
		s = s>>16 + s&0xffff
		b[6], b[7] = ^byte(s>>8), ^byte(s)
		return b
	}
	c.check(
		shout(c.desk, 1, msg),
		shout(c.desk, 254, msg),
		shout(c.desk, 255, changed(func(b []byte) { b[4], b[5] = 0, 0 })),
		shout(c.desk, 255, changed(func(b []byte) { b[3] = 0 })),
		shout(c.desk, 255, changed(func(b []byte) { b[0] = 0x21 })),
		shout(c.desk, 255, changed(func(b []byte) { b[1] = 99 })), // another virtual router
		shout(c.desk, 255, msg[:10]),
		shout(c.desk, 255, append(msg[:7:7], append([]byte{msg[7] ^ 1}, msg[8:]...)...)),
	)
	a.fault("pair.bad-advert")
	c.eventually("all are counted", func() bool {
		m := a.metrics()
		return strings.Contains(m, `failoverd_adverts_refused_total{group="lan",reason="packet"} 2`) &&
			strings.Contains(m, `reason="interval"} 1`) && strings.Contains(m, `reason="address count"} 1`) &&
			strings.Contains(m, `reason="version or type"} 1`) && strings.Contains(m, `reason="length"} 1`) &&
			strings.Contains(m, `reason="checksum"} 1`)
	})
	if g := a.group(); g.Role != wire.RoleMaster || g.Since != since {
		t.Errorf("moved: %+v", g)
	}
	// The same message unspoilt does move it: the test can fail.
	c.check(shout(c.desk, 255, msg))
	a.is(wire.RoleBackup)
	a.is(wire.RoleMaster)
}

// With peers set, a machine that is none of them moves nobody, whatever it says,
// and is named.
func TestStranger(t *testing.T) {
	c := newClinic(t)
	a := c.nodeWith("a", "10.20.0.2/24", fmt.Sprintf(`[[pair.group]]
name = "lan"
vrid = 20
port = "lan"
addresses = ["%s/24"]
interval = "100ms"
peers = ["10.20.0.3"]
`, shared))
	a.is(wire.RoleMaster)
	say := func(from string) {
		t.Helper()
		m := advert.Message{VRID: 20, Priority: 254, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr(shared)}}
		src := netip.MustParseAddr(from)
		msg, err := m.Append(nil, advert.RFC9568, src, packet.Group4)
		c.check(err, speak(c.desk, src, 255, msg))
	}
	say("10.20.0.50")
	if f := a.fault("pair.stranger"); !strings.Contains(f.What, "10.20.0.50") || f.Severity != wire.Alarm {
		t.Errorf("got %+v", f)
	}
	if g := a.group(); g.Role != wire.RoleMaster {
		t.Errorf("it moved: %s", g.Reason)
	}
	// The same from the peer does move it: the test can fail.
	c.ip(c.desk, "addr", "add", "10.20.0.3/24", "dev", "lan")
	say("10.20.0.3")
	a.is(wire.RoleBackup)
}

// A pair of another maker on the same network with our VRID.
func TestForeignAdvert(t *testing.T) {
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	foreign := advert.Message{VRID: 20, Priority: 50, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("10.20.0.99")}}
	msg, err := foreign.Append(nil, advert.RFC5798, netip.MustParseAddr("10.20.0.50"), packet.Group4)
	c.check(err)
	for range rivalAfter {
		c.check(shout(c.desk, 255, msg))
	}
	if f := a.fault("pair.foreign-advert"); !strings.Contains(f.What, "10.20.0.50 advertises [10.20.0.99] under our VRID 20") {
		t.Errorf("got %+v", f)
	}
	if f := a.fault("pair.interval-differs"); !strings.Contains(f.What, "every 1s, this box every 100ms") {
		t.Errorf("got %+v", f)
	}
	a.fault("pair.two-masters")
	if g := a.group(); g.Role != wire.RoleMaster || g.Peer != "10.20.0.50" {
		t.Errorf("got %+v", g)
	}
}
