package apply

import (
	"errors"
	"fmt"
	"net/netip"

	"clinicgate/netd/plan"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// IPv6 addresses have no labels. Since Linux 5.18 they carry a protocol instead,
// as routes do; our netlink library doesn't know it.

// ifaProto is IFA_PROTO of linux/if_addr.h.
const ifaProto = 11

// addrs6 lists the IPv6 addresses that carry our protocol.
func addrs6(names map[int]string) ([]addr, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_INET6))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		return nil, fmt.Errorf("list IPv6 addresses: %w", err)
	}
	var all []addr
	for _, m := range messages {
		if a, ours := addr6(m, names); ours {
			all = append(all, a)
		}
	}
	return all, nil
}

// addr6 reads one message of the kernel, and whether it is about an address of ours.
func addr6(m []byte, names map[int]string) (addr, bool) {
	msg := nl.DeserializeIfAddrmsg(m)
	attrs, err := nl.ParseRouteAttr(m[msg.Len():])
	if err != nil || msg.Family != unix.AF_INET6 {
		return addr{}, false
	}
	a := addr{index: int(msg.Index), plan: plan.Addr{Dev: names[int(msg.Index)]}}
	ours := false
	for _, at := range attrs {
		switch at.Attr.Type {
		case unix.IFA_ADDRESS:
			if ip, ok := netip.AddrFromSlice(at.Value); ok {
				a.plan.Prefix = netip.PrefixFrom(ip, int(msg.Prefixlen))
			}
		case ifaProto:
			ours = len(at.Value) == 1 && at.Value[0] == plan.Protocol
		case unix.IFA_FLAGS:
			a.plan.NoRoute = len(at.Value) == 4 && nl.NativeEndian().Uint32(at.Value)&unix.IFA_F_NOPREFIXROUTE != 0
		}
	}
	return a, ours && a.plan.Prefix.IsValid()
}

// change6 adds or deletes an IPv6 address.
func change6(request, flags, index int, a plan.Addr) error {
	req := nl.NewNetlinkRequest(request, flags|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET6)
	msg.Index, msg.Prefixlen = uint32(index), uint8(a.Prefix.Bits())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a.Prefix.Addr().AsSlice()))
	if request == unix.RTM_NEWADDR {
		req.AddData(nl.NewRtAttr(ifaProto, []byte{plan.Protocol}))
		var f uint32
		if a.NoRoute {
			f = unix.IFA_F_NOPREFIXROUTE
		}
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(f)))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// familyOf is the kernel's number for the family of p.
func familyOf(p netip.Prefix) int {
	if p.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// ForgetMarked deletes the tracked IPv6 connections that carry the mark: those that
// went by an uplink that is dead now. It returns how many went.
func (k *Kernel) ForgetMarked(mark uint32) (uint, error) {
	n, err := k.h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET6, marked(mark))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return n, fmt.Errorf("forget IPv6 connections marked %#x: %w", mark, err)
	}
	return n, nil
}

// marked chooses connections by their mark.
type marked uint32

// MatchConntrackFlow is netlink's question whether to delete the connection.
func (m marked) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return f.Mark&plan.MarkMask == uint32(m)
}
