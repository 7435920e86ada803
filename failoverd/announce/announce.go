// Package announce puts the pair's addresses on a port, takes them off, and tells
// the network about them. Every address it puts carries a label of ours, so that
// what a killed run left behind is found again, and nothing else is ever removed.
package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// suffix of the label, behind the port's name: people see it in `ip addr`.
const suffix = ":pair"

// Label returns the label of the pair's addresses on a port. The kernel allows 15
// characters.
func Label(port string) string { return port + suffix }

// The kernel is lent an address for lease and takes it off by itself then, in
// whole seconds and up to one late: if failoverd and its guard are both dead, it
// must not answer beside another master for ever. Renew is when to claim again.
const (
	lease = 3 * time.Second
	Renew = time.Second
)

// Claim puts the addresses on the port for a lease, or renews it. Stop here: the
// kernel answers for the addresses without us until the lease ends, or Sweep.
//
// They are put with a prefix of one: the network's route and the choice of source
// address stay with the port's own address, and the kernel does not take them off
// when netd replaces that one.
func Claim(index int, port string, addresses []netip.Prefix) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: port}}
	for _, a := range addresses {
		if err := netlink.AddrReplace(link, host(port, a)); err != nil {
			return fmt.Errorf("put %v on %s: %w", a.Addr(), port, err)
		}
	}
	return nil
}

// Release takes the addresses off the port. One that is not there is no error.
func Release(index int, port string, addresses []netip.Prefix) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: port}}
	var failed []error
	for _, a := range addresses {
		err := netlink.AddrDel(link, host(port, a))
		gone := errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENODEV)
		if err != nil && !gone {
			failed = append(failed, fmt.Errorf("take %v off %s: %w", a.Addr(), port, err))
		}
	}
	return errors.Join(failed...)
}

func host(port string, a netip.Prefix) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)},
		Label: Label(port),
		Scope: int(netlink.SCOPE_UNIVERSE),

		ValidLft: int(lease / time.Second), PreferedLft: int(lease / time.Second),
	}
}

// Sweep takes off every address that carries our label, on any port, and returns
// them: a run that was killed left them, and the other box may have them by now.
func Sweep() ([]string, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var swept []string
	var failed []error
	for _, a := range all {
		if !strings.HasSuffix(a.Label, suffix) {
			continue
		}
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: a.LinkIndex}}
		if err := netlink.AddrDel(link, &a); err != nil {
			failed = append(failed, fmt.Errorf("take off %v, left by an earlier run: %w", a.IPNet, err))
			continue
		}
		swept = append(swept, fmt.Sprintf("%v (%s)", a.IP, a.Label))
	}
	return swept, errors.Join(failed...)
}
