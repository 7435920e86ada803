// Package port sees one network port as VRRP needs it: is it there, has it a
// carrier, which address is its own, and which of the pair's are on it.
package port

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port is what the kernel said about a port at one moment.
type Port struct {
	Name    string
	There   bool
	Index   int
	MAC     net.HardwareAddr
	Carrier bool
	Own     []netip.Prefix // its own addresses, netd's and the link-local one
	Shared  []netip.Addr   // the pair's, put by us
}

// Look asks the kernel about the port called name; ours tells the pair's addresses
// from its own. An address that the kernel still looks for on the network, or has
// found there, is left out.
func Look(name string, ours func(netlink.Addr) bool) (Port, error) {
	p := Port{Name: name}
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("look at port %s: %w", name, err)
	}
	attrs := link.Attrs()
	p.There, p.Index, p.MAC = true, attrs.Index, attrs.HardwareAddr
	p.Carrier = attrs.RawFlags&unix.IFF_UP != 0 && attrs.RawFlags&unix.IFF_RUNNING != 0
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return p, fmt.Errorf("look at port %s: %w", name, err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		bits, _ := a.Mask.Size()
		switch {
		case !ok || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0:
		case ours(a):
			p.Shared = append(p.Shared, ip)
		default:
			p.Own = append(p.Own, netip.PrefixFrom(ip, bits))
		}
	}
	return p, nil
}

// Watch calls changed after each change of a link or an address, of any port,
// until ctx ends. What changed is not said: look again. Changes that come quickly
// are folded into one call.
func Watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("watch ports: %w", err)
	}
	events := os.NewFile(uintptr(fd), "rtnetlink")
	defer events.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR}); err != nil {
		return fmt.Errorf("watch ports: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		_, err := events.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS): // overflow: something changed
			return fmt.Errorf("watch ports: %w", err)
		}
		changed()
	}
}
