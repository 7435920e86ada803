// Package stir makes computers of the clinic notice that a connection of theirs is
// over, though they have nothing to say in it just now. A connection that left by a
// dead uplink can't go on by another, and whoever only listens would wait for hours.
//
// A TCP segment that fits into no window makes a computer answer with what it holds
// true (RFC 9293 §3.10.7.4). Its answer leaves by the uplink in use, where the server
// knows of no such connection and resets it.
package stir

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Flow is a TCP connection as the clinic's computer sees it.
type Flow struct {
	Client, Server netip.AddrPort // IPv4
}

// most bounds what is sent at a time.
const most = 2000

// Send stirs the clients of flows. Those that the neighbour table does not know are
// passed over: they have been silent for long. The packets pass neither the packet
// filter nor the table of connections, which would take them for new ones. It needs
// CAP_NET_RAW, and returns how many were stirred.
func Send(flows []Flow) (int, error) {
	if len(flows) == 0 {
		return 0, nil
	}
	where, err := neighbours()
	if err != nil {
		return 0, err
	}
	// Protocol 0: nothing is ever received.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("stir: %w", err)
	}
	defer unix.Close(fd)
	n := 0
	var errs []error
	for _, f := range flows[:min(len(flows), most)] {
		to, known := where[f.Client.Addr()]
		if !known {
			continue
		}
		if err := unix.Sendto(fd, segment(f, rand.Uint32(), rand.Uint32()), 0, to); err != nil {
			errs = append(errs, fmt.Errorf("stir %s: %w", f.Client.Addr(), err))
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// neighbours reads who is where from the kernel's table.
func neighbours() (map[netip.Addr]*unix.SockaddrLinklayer, error) {
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return nil, fmt.Errorf("stir: %w", err)
	}
	defer f.Close()
	all := map[netip.Addr]*unix.SockaddrLinklayer{}
	for s := bufio.NewScanner(f); s.Scan(); {
		// IP address, HW type, Flags, HW address, Mask, Device
		col := strings.Fields(s.Text())
		if len(col) < 6 {
			continue
		}
		ip, err := netip.ParseAddr(col[0])
		mac, err2 := net.ParseMAC(col[3])
		dev, err3 := net.InterfaceByName(col[5])
		if errors.Join(err, err2, err3) != nil || len(mac) != 6 || col[2] == "0x0" {
			continue
		}
		to := &unix.SockaddrLinklayer{Protocol: unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8, Ifindex: dev.Index, Halen: 6}
		copy(to.Addr[:], mac)
		all[ip] = to
	}
	return all, nil
}

// Sizes of the two headers without options.
const (
	ipLen  = 20
	tcpLen = 20
)

// segment is an empty ACK from the server, as an IPv4 packet.
func segment(f Flow, seq, ack uint32) []byte {
	b := make([]byte, ipLen+tcpLen)
	src, dst := f.Server.Addr().As4(), f.Client.Addr().As4()
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipLen], 0))
	t := b[ipLen:]
	binary.BigEndian.PutUint16(t, f.Server.Port())
	binary.BigEndian.PutUint16(t[2:], f.Client.Port())
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = tcpLen/4<<4, 0x10 // ACK
	pseudo := sum(b[12:20]) + unix.IPPROTO_TCP + tcpLen
	binary.BigEndian.PutUint16(t[16:], checksum(t, pseudo))
	return b
}

func sum(b []byte) (n uint32) {
	for ; len(b) >= 2; b = b[2:] {
		n += uint32(binary.BigEndian.Uint16(b))
	}
	return n
}

// checksum is RFC 1071's of an even number of bytes and what was summed up before.
func checksum(b []byte, before uint32) uint16 {
	n := sum(b) + before
	n = n>>16 + n&0xffff
	n += n >> 16
	return ^uint16(n)
}
