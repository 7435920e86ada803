// Package vmac is the device that carries a virtual hardware address (RFC 9568
// §7.3): a macvlan on the clinic's port. It guarantees that only this device answers
// for the addresses on it, with that hardware address, and that none is left behind
// by a killed run.
package vmac

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// prefix of the devices' names; netd's firewall knows it.
const prefix = "vm-"

// Name is that of a virtual router's device.
func Name(vrid uint8, six bool) string {
	if six {
		return fmt.Sprintf("%s%d-6", prefix, vrid)
	}
	return fmt.Sprintf("%s%d-4", prefix, vrid)
}

// MAC is a virtual router's hardware address.
func MAC(vrid uint8, six bool) net.HardwareAddr {
	if six {
		return net.HardwareAddr{0, 0, 0x5e, 0, 2, vrid}
	}
	return net.HardwareAddr{0, 0, 0x5e, 0, 1, vrid}
}

// Is tells our devices from others, by name.
func Is(device string) bool { return strings.HasPrefix(device, prefix) }

// Make puts a virtual router's device on the port with that index and name, switched
// off, and returns its index. One that stands there already is taken as it is.
//
// It is private: the box's own port and the device do not hear each other. While it
// is off the kernel hands the other box's frames, which come from the same hardware
// address, to the port; while it is on, to the device: so who listens, listens on
// both.
func Make(parent int, port string, vrid uint8, six bool) (int, error) {
	name, mac := Name(vrid, six), MAC(vrid, six)
	if old, err := netlink.LinkByName(name); err == nil {
		a := old.Attrs()
		if old.Type() == "macvlan" && a.ParentIndex == parent && a.HardwareAddr.String() == mac.String() {
			return a.Index, nil
		}
		if err := netlink.LinkDel(old); err != nil {
			return 0, fmt.Errorf("remove old %s: %w", name, err)
		}
	}
	link := &netlink.Macvlan{Mode: netlink.MACVLAN_MODE_PRIVATE, LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent, HardwareAddr: mac}}
	if err := netlink.LinkAdd(link); err != nil {
		return 0, fmt.Errorf("make %s on %s: %w", name, port, err)
	}
	made, err := netlink.LinkByName(name)
	if err == nil {
		err = tame(name, port, six)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("make %s on %s: %w", name, port, err), netlink.LinkDel(link))
	}
	return made.Attrs().Index, nil
}

// tame sets how the kernel treats the two devices, which share a network.
func tame(name, port string, six bool) error {
	set := [][2]string{
		// Each answers ARP for its own addresses only, and asks with its own: else the
		// port would answer for the shared address, or tell its own hardware address
		// for it.
		{"ipv4/conf/" + port + "/arp_ignore", "1"},
		{"ipv4/conf/" + port + "/arp_announce", "2"},
		{"ipv4/conf/" + name + "/arp_ignore", "1"},
		{"ipv4/conf/" + name + "/arp_announce", "2"},
		// What comes in by the device is answered by the port.
		{"ipv4/conf/" + name + "/rp_filter", "2"},
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		if six {
			set = append(set,
				[2]string{"ipv6/conf/" + name + "/addr_gen_mode", "1"}, // no address made of the virtual one (§7.4)
				[2]string{"ipv6/conf/" + name + "/accept_ra", "0"},
				[2]string{"ipv6/conf/" + name + "/accept_dad", "0"})
		} else {
			set = append(set, [2]string{"ipv6/conf/" + name + "/disable_ipv6", "1"})
		}
	}
	for _, s := range set {
		// A port's name has no slash, and a dot in it is not one of the path.
		if err := os.WriteFile(filepath.Join("/proc/sys/net", s[0]), []byte(s[1]), 0); err != nil {
			return fmt.Errorf("set %s: %w", s[0], err)
		}
	}
	return nil
}

// Up switches the device on. Stop here: the guard or the next run removes it.
func Up(index int) error { return set(index, netlink.LinkSetUp, "on") }

// Down switches it off: frames for the hardware address are no longer ours.
func Down(index int) error { return set(index, netlink.LinkSetDown, "off") }

func set(index int, change func(netlink.Link) error, what string) error {
	err := change(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil {
		return fmt.Errorf("switch device %d %s: %w", index, what, err)
	}
	return nil
}

// Remove removes a device with everything on it. One that is gone is no error.
func Remove(index int) error {
	err := netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove device %d: %w", index, err)
	}
	return nil
}

// Sweep removes every device of ours and returns their names: a run that was killed
// left them.
func Sweep() (swept []string, err error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var failed []error
	for _, l := range all {
		a := l.Attrs()
		if l.Type() != "macvlan" || !Is(a.Name) || len(a.HardwareAddr) != 6 || a.HardwareAddr[2] != 0x5e {
			continue
		}
		if err := netlink.LinkDel(l); err != nil {
			failed = append(failed, fmt.Errorf("remove %s, left by an earlier run: %w", a.Name, err))
			continue
		}
		swept = append(swept, a.Name)
	}
	return swept, errors.Join(failed...)
}
