package ctnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"

	"clinicgate/failoverd/flowsync/flow"
)

// An Event is a change of one entry. In the event of an entry that lives on, the
// kernel may leave out the TCP state when it did not change: Partial.
type Event struct {
	Flow    flow.Flow
	Gone    bool
	Partial bool
}

// decode returns the event in a message; ok is false for what is none of ours:
// other protocols, other zones.
func decode(m netlink.Message, marks uint32) (ev Event, ok bool, err error) {
	var e conntrack.Event
	if err := e.Unmarshal(m); err != nil {
		return ev, false, fmt.Errorf("read conntrack entry: %w", err)
	}
	f := e.Flow
	if f == nil || f.Zone != 0 {
		return ev, false, nil
	}
	o, r := f.TupleOrig, f.TupleReply
	if p := o.Proto.Protocol; p != flow.TCP && p != flow.UDP || !o.IP.SourceAddress.IsValid() || !r.IP.SourceAddress.IsValid() {
		return ev, false, nil
	}
	ev.Gone = e.Type == conntrack.EventDestroy
	ev.Flow = flow.Flow{
		Key:     flow.Key{Proto: o.Proto.Protocol, Tuple: tupleOf(o)},
		Reply:   tupleOf(r),
		Status:  uint16(f.Status) & flow.StatusMask,
		Mark:    f.Mark & marks,
		Timeout: f.Timeout,
	}
	if ev.Flow.Proto == flow.TCP {
		if tcp := f.ProtoInfo.TCP; tcp != nil {
			ev.Flow.State, ev.Flow.Scale = tcp.State, [2]uint8{tcp.OriginalWindowScale, tcp.ReplyWindowScale}
		} else {
			ev.Partial = true
		}
	}
	return ev, true, nil
}

func tupleOf(t conntrack.Tuple) flow.Tuple {
	return flow.Tuple{
		Src: flow.EndOf(netip.AddrPortFrom(t.IP.SourceAddress, t.Proto.SourcePort)),
		Dst: flow.EndOf(netip.AddrPortFrom(t.IP.DestinationAddress, t.Proto.DestinationPort)),
	}
}

// each calls f for the messages in one datagram of the kernel's. done: it was the
// last of a listing.
func each(b []byte, f func(netlink.Message) error) (done bool, err error) {
	for len(b) >= syscall.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < syscall.NLMSG_HDRLEN || size > len(b) {
			return false, fmt.Errorf("netlink message: got length %d in %d bytes", size, len(b))
		}
		m := netlink.Message{Header: netlink.Header{
			Length: uint32(size),
			Type:   netlink.HeaderType(binary.NativeEndian.Uint16(b[4:])),
			Flags:  netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:])),
		}, Data: b[syscall.NLMSG_HDRLEN:size]}
		switch m.Header.Type {
		case netlink.Done:
			return true, nil
		case netlink.Error:
			if len(m.Data) < 4 {
				return false, fmt.Errorf("netlink error: got %d bytes, want 4", len(m.Data))
			}
			if no := -int32(binary.NativeEndian.Uint32(m.Data)); no != 0 {
				return false, syscall.Errno(no)
			}
		default:
			if err := f(m); err != nil {
				return false, err
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false, nil
}
