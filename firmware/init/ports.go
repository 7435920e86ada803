package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"clinicgate/board"
)

// namePorts gives each interface the name of its port's role. A board's port
// without an interface is an error and keeps none of the others from its name.
func namePorts(sys string, ports []board.Port) error {
	found, err := interfaces(sys)
	if err != nil {
		return err
	}
	var all []error
	for _, p := range ports {
		name, ok := found[p.Bus]
		switch {
		case !ok:
			all = append(all, fmt.Errorf("port %s: no network device at %s", p.Role, p.Bus))
		case name != p.Role:
			if err := rename(name, p.Role); err != nil {
				all = append(all, fmt.Errorf("port %s: %w", p.Role, err))
			}
		}
	}
	return errors.Join(all...)
}

// interfaces maps each step of a network device's bus path to its name. A virtio
// device hangs below its PCI device, others are it.
func interfaces(sys string) (map[string]string, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "class/net"))
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	found := map[string]string{}
	for _, e := range entries {
		path, err := filepath.EvalSymlinks(filepath.Join(sys, "class/net", e.Name(), "device"))
		if err != nil {
			continue // no hardware
		}
		steps := strings.Split(path, "/")
		for _, s := range steps[max(0, slices.Index(steps, "devices")):] {
			found[s] = e.Name()
		}
	}
	return found, nil
}

// rename renames a network device, which must be down.
func rename(from, to string) error {
	var req struct {
		name, newname [unix.IFNAMSIZ]byte
		_             [8]byte // struct ifreq is 40 bytes
	}
	if len(from) >= unix.IFNAMSIZ || len(to) >= unix.IFNAMSIZ {
		return fmt.Errorf("rename %s to %s: name too long", from, to)
	}
	copy(req.name[:], from)
	copy(req.newname[:], to)
	return interfaceIoctl(unix.SIOCSIFNAME, unsafe.Pointer(&req), "rename "+from+" to "+to)
}

// loopbackUp brings lo up; some programs talk to themselves.
func loopbackUp() error {
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP | unix.IFF_RUNNING
	return interfaceIoctl(unix.SIOCSIFFLAGS, unsafe.Pointer(&req), "bring up lo")
}

func interfaceIoctl(op uintptr, req unsafe.Pointer, what string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(req)); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
