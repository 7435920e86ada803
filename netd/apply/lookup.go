package apply

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Lookup asks the kernel by which device a packet with this mark leaves: one that
// came in by the device from, or one of the box's own when from is empty.
func (k *Kernel) Lookup(src, dst netip.Addr, mark uint32, from string) (string, error) {
	options := &netlink.RouteGetOptions{Mark: mark, Iif: from, SrcAddr: src.AsSlice()}
	routes, err := k.h.RouteGetWithOptions(dst.AsSlice(), options)
	if err != nil {
		return "", fmt.Errorf("the kernel has no route: %w", err)
	}
	if len(routes) == 0 {
		return "", fmt.Errorf("the kernel has no route")
	}
	l, err := k.h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("the kernel's device: %w", err)
	}
	return l.Attrs().Name, nil
}
