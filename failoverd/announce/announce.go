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
	"golang.org/x/sys/unix"
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

// host is one address as the kernel gets it. One of IPv6 is not looked for on the
// network before (the other box may have it for some milliseconds more), and is
// deprecated, so that nothing of ours takes it for a source.
func host(port string, a netip.Prefix) *netlink.Addr {
	if a.Addr().Is6() {
		return &netlink.Addr{
			IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(128, 128)},
			Flags: unix.IFA_F_NODAD, ValidLft: int(lease / time.Second),
		}
	}
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)},
		Label: Label(port),
		Scope: int(netlink.SCOPE_UNIVERSE),

		ValidLft: int(lease / time.Second), PreferedLft: int(lease / time.Second),
	}
}

// forever is the lifetime of an address that does not end.
const forever = 1<<32 - 1

// Ours tells the pair's addresses from all others: by their label, or for IPv6,
// which has none, by being lent and not looked for, which no other way of getting
// an address makes.
func Ours(a netlink.Addr) bool {
	if a.IP.To4() != nil {
		return strings.HasSuffix(a.Label, suffix)
	}
	ones, _ := a.Mask.Size()
	return ones == 128 && a.Flags&unix.IFA_F_NODAD != 0 && uint32(a.ValidLft) != forever
}

// Sweep takes off every address of the pair, on any port, and returns
// them: a run that was killed left them, and the other box may have them by now.
func Sweep() ([]string, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var swept []string
	var failed []error
	for _, a := range all {
		if !Ours(a) {
			continue
		}
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: a.LinkIndex}}
		if err := netlink.AddrDel(link, &a); err != nil {
			failed = append(failed, fmt.Errorf("take off %v, left by an earlier run: %w", a.IPNet, err))
			continue
		}
		swept = append(swept, strings.TrimSuffix(fmt.Sprintf("%v (%s)", a.IP, a.Label), " ()"))
	}
	return swept, errors.Join(failed...)
}
