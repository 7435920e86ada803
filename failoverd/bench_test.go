package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/packet"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
)

// A bench is one box of ours with a group of each family, and the workstation that
// plays other routers and sees every frame.
type bench struct {
	*clinic
	box    *node
	frames chan []byte // Ethernet frames, as the workstation's port got them
}

// The box's own address and interval. The interval is long enough to tell an
// advertisement that comes at once from one that was due.
const (
	benchSelf     = "10.20.0.20"
	benchInterval = 400 * time.Millisecond
)

func newBench(t *testing.T) *bench {
	b := &bench{clinic: newClinic(t), frames: make(chan []byte, 4096)}
	b.desk6()
	b.ip(b.desk, "addr", "add", "10.20.0.10/24", "dev", "lan")
	b.sniff()
	group := "[[pair.group]]\nname = %q\nvrid = 20\nport = \"lan\"\naddresses = [%s]\npriority = 100\ninterval = \"400ms\"\n"
	b.box = b.nodeWith("a", benchSelf+"/24",
		fmt.Sprintf(group, "lan", `"10.20.0.1/24", "10.20.0.9/24"`)+fmt.Sprintf(group, "lan6", `"fe80::20:1/64", "2001:db8:20::1/64"`))
	return b
}

// sniff collects what arrives at the workstation.
func (b *bench) sniff() {
	var fd int
	b.check(b.desk.Do(func() (err error) {
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: lan.Index, Protocol: all})
	}))
	file := os.NewFile(uintptr(fd), "sniffer")
	b.t.Cleanup(func() { file.Close() })
	go func() {
		for {
			buf := make([]byte, 2048)
			n, err := file.Read(buf)
			if err != nil {
				return
			}
			select {
			case b.frames <- buf[:n]:
			default:
			}
		}
	}()
}

// see waits for a frame; what came before is forgotten.
func (b *bench) see(t *testing.T, what string, match func([]byte) bool) []byte {
	t.Helper()
	f := b.within(patience, match)
	if f == nil {
		t.Fatalf("never seen: %s", what)
	}
	return f
}

// within waits so long for a frame; nil: none came.
func (b *bench) within(d time.Duration, match func([]byte) bool) []byte {
	end := time.After(d)
	for {
		select {
		case f := <-b.frames:
			if match(f) {
				return f
			}
		case <-end:
			return nil
		}
	}
}

func (b *bench) forget() {
	for len(b.frames) > 0 {
		<-b.frames
	}
}

// ours4 and ours6 tell the box's advertisements by family.
func ours4(f []byte) bool {
	return len(f) >= 42 && f[12] == 8 && f[13] == 0 && f[23] == 112 && net.IP(f[26:30]).String() == benchSelf
}

func ours6(f []byte) bool {
	return len(f) >= 62 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 112
}

// garp is a gratuitous ARP for the address.
func garp(addr string) func([]byte) bool {
	return func(f []byte) bool {
		return len(f) >= 42 && f[12] == 8 && f[13] == 6 && net.IP(f[28:32]).String() == addr && net.IP(f[38:42]).String() == addr
	}
}

// na is a neighbour advertisement for the address.
func na(addr string) func([]byte) bool {
	return func(f []byte) bool {
		return len(f) >= 14+40+32 && f[12] == 0x86 && f[20] == 58 && f[54] == 136 && net.IP(f[62:78]).String() == addr
	}
}

// An other is what the workstation says as another router.
type other struct {
	priority uint8
	from     string // empty: 10.20.0.50, or the workstation's link-local address
	hops     int    // 0: 255
	vrid     uint8  // 0: 20
	interval time.Duration
	six      bool
	form     advert.Form
	list     []string            // empty: the box's own
	spoil    func([]byte)        // before the checksum is put right
	cut      func([]byte) []byte // after
}

func (b *bench) say(o other) {
	b.t.Helper()
	from, list := "10.20.0.50", []string{"10.20.0.1", "10.20.0.9"}
	if o.six {
		from, list = b.linkLocal(b.desk), []string{"fe80::20:1", "2001:db8:20::1"}
	}
	if o.from != "" {
		from = o.from
	}
	if o.list != nil {
		list = o.list
	}
	src := netip.MustParseAddr(from)
	m := advert.Message{VRID: 20, Priority: o.priority, Interval: benchInterval}
	if o.vrid != 0 {
		m.VRID = o.vrid
	}
	if o.interval != 0 {
		m.Interval = o.interval
	}
	for _, a := range list {
		m.Addresses = append(m.Addresses, netip.MustParseAddr(a))
	}
	msg, err := m.Append(nil, o.form, src, packet.Group(src))
	b.check(err)
	if o.spoil != nil {
		o.spoil(msg)
		resum(msg, src, o.form)
	}
	if o.cut != nil {
		msg = o.cut(msg)
	}
	hops := 255
	if o.hops != 0 {
		hops = o.hops
	}
	b.check(speak(b.desk, src, hops, msg))
}

func (c *clinic) linkLocal(s *netns.Space) string {
	_, rest, _ := strings.Cut(c.ip(s, "-6", "-o", "addr", "show", "dev", "lan", "scope", "link"), "inet6 ")
	a, _, _ := strings.Cut(rest, "/")
	return a
}

// resum puts a changed message's checksum right, by arithmetic of its own.
func resum(b []byte, src netip.Addr, form advert.Form) {
	b[6], b[7] = 0, 0
	all := b
	if src.Is6() || form == advert.RFC5798 {
		all = append(append(append([]byte{}, src.AsSlice()...), packet.Group(src).AsSlice()...), b...)
		all = append(all, 0, 112)
		all = binary.BigEndian.AppendUint16(all, uint16(len(b)))
	}
	var s uint32
	for i := 0; i+1 < len(all); i += 2 {
		s += uint32(all[i])<<8 | uint32(all[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(b[6:], ^uint16(s))
}

func speak(s *netns.Space, src netip.Addr, hops int, msg []byte) error {
	return s.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL
		var self, to unix.Sockaddr = &unix.SockaddrInet4{}, &unix.SockaddrInet4{Addr: packet.Group4.As4()}
		if src.Is6() {
			family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS
			self = &unix.SockaddrInet6{Addr: src.As16(), ZoneId: uint32(lan.Index)}
			to = &unix.SockaddrInet6{Addr: packet.Group6.As16(), ZoneId: uint32(lan.Index)}
		} else {
			self = &unix.SockaddrInet4{Addr: src.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, advert.Protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, err := range []error{unix.SetsockoptInt(fd, level, option, hops), unix.BindToDevice(fd, "lan"), unix.Bind(fd, self)} {
			if err != nil {
				return err
			}
		}
		return unix.Sendto(fd, msg, 0, to)
	})
}

// state is the group of that family.
func (b *bench) state(six bool) wire.Group {
	g := b.box.file().Groups
	if six && len(g) > 1 {
		return g[1]
	}
	return g[0]
}

func (b *bench) until(six bool, role string) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("the box is %s (IPv6 %v)", role, six), func() bool { return b.state(six).Role == role })
}

// again makes the box master quickly: the router it follows steps down.
func (b *bench) again(six bool) {
	b.t.Helper()
	if b.state(six).Role != wire.RoleMaster {
		b.say(other{six: six, priority: 0})
	}
	b.until(six, wire.RoleMaster)
}
