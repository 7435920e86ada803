package ctnl

import (
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"

	"clinicgate/failoverd/flowsync/flow"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h. They are encoded here, not
// by ti-mo/conntrack: it leaves out CTA_NAT_*, and a flow put in place without
// them leaves under the workstation's own address.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaNATSrc     = 6
	ctaTimeout    = 7
	ctaMark       = 8
	ctaNATDst     = 13

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaNATv4Min   = 1
	ctaNATv4Max   = 2
	ctaNATProto   = 3
	ctaNATv6Min   = 4
	ctaNATv6Max   = 5
	ctaNATPortMin = 1
	ctaNATPortMax = 2

	ctaProtoInfoTCP = 1
	ctaTCPState     = 1
	ctaTCPScaleOrig = 2
	ctaTCPScaleRply = 3
	ctaTCPFlagsOrig = 4
	ctaTCPFlagsRply = 5
)

// Message types of the subsystem, and its place in netfilter.
const (
	msgNew    = 0
	msgGet    = 1
	msgDelete = 2
)

// Bits of IP_CT_TCP_FLAG_*. Liberal: the sequence numbers seen by the other box are
// not known here, so no packet may be called invalid for its window. The kernel
// takes window scales only for directions that have the scaled bit.
const (
	scaled  = 0x01
	liberal = 0x08
)

func message(kind netfilter.MessageType, family netfilter.ProtoFamily, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netfilter.NewAttributeEncoder()
	if fill != nil {
		fill(ae)
	}
	return netfilter.EncodeNetlink(netfilter.Header{
		Flags: netlink.Request | flags, SubsystemID: netfilter.NFSubsysCTNetlink, MessageType: kind, Family: family,
	}, ae)
}

func family(k flow.Key) netfilter.ProtoFamily {
	if k.Src.AddrPort().Addr().Is4() {
		return netfilter.ProtoIPv4
	}
	return netfilter.ProtoIPv6
}

// encodeNew makes an entry. Answers are told as if nobody rewrote addresses; the
// kernel rewrites them as CTA_NAT_* says and sets its own status bits for it.
func encodeNew(f flow.Flow) (netlink.Message, error) {
	return message(msgNew, family(f.Key), netlink.Acknowledge|netlink.Create|netlink.Excl, func(ae *netlink.AttributeEncoder) {
		ae.Nested(ctaTupleOrig, tuple(f.Proto, f.Tuple))
		ae.Nested(ctaTupleReply, tuple(f.Proto, f.Inverse()))
		if f.SNAT() {
			ae.Nested(ctaNATSrc, nat(f.Reply.Dst))
		}
		if f.DNAT() {
			ae.Nested(ctaNATDst, nat(f.Reply.Src))
		}
		state(ae, f)
	})
}

// encodeUpdate changes an entry that is there. NAT can't be changed any more.
func encodeUpdate(f flow.Flow) (netlink.Message, error) {
	return message(msgNew, family(f.Key), netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.Nested(ctaTupleOrig, tuple(f.Proto, f.Tuple))
		state(ae, f)
	})
}

func encodeDelete(k flow.Key) (netlink.Message, error) {
	return message(msgDelete, family(k), netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.Nested(ctaTupleOrig, tuple(k.Proto, k.Tuple))
	})
}

// state is what changes in the life of an entry.
func state(ae *netlink.AttributeEncoder, f flow.Flow) {
	ae.Uint32(ctaStatus, uint32(f.Status)|flow.Confirmed) // without it: EBUSY
	ae.Uint32(ctaTimeout, f.Timeout)
	ae.Uint32(ctaMark, f.Mark)
	if f.Proto != flow.TCP {
		return
	}
	flags := []byte{liberal, liberal | scaled} // the flags, and which of them are said
	if f.Scale != [2]uint8{} {
		flags[0] |= scaled
	}
	ae.Nested(ctaProtoInfo, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(ctaProtoInfoTCP, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(ctaTCPState, f.State)
			ae.Uint8(ctaTCPScaleOrig, f.Scale[0])
			ae.Uint8(ctaTCPScaleRply, f.Scale[1])
			ae.Bytes(ctaTCPFlagsOrig, flags)
			ae.Bytes(ctaTCPFlagsRply, flags)
			return nil
		})
		return nil
	})
}

func tuple(proto uint8, t flow.Tuple) func(*netlink.AttributeEncoder) error {
	src, dst := t.Src.AddrPort(), t.Dst.AddrPort()
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(ctaTupleIP, func(ae *netlink.AttributeEncoder) error {
			s, d := uint16(ctaIPv6Src), uint16(ctaIPv6Dst)
			if src.Addr().Is4() {
				s, d = ctaIPv4Src, ctaIPv4Dst
			}
			ae.Bytes(s, src.Addr().AsSlice())
			ae.Bytes(d, dst.Addr().AsSlice())
			return nil
		})
		ae.Nested(ctaTupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(ctaProtoNum, proto)
			ae.Uint16(ctaProtoSrc, src.Port())
			ae.Uint16(ctaProtoDst, dst.Port())
			return nil
		})
		return nil
	}
}

// nat rewrites to one address and port exactly: a range of one.
func nat(e flow.End) func(*netlink.AttributeEncoder) error {
	to := e.AddrPort()
	return func(ae *netlink.AttributeEncoder) error {
		first, last := uint16(ctaNATv6Min), uint16(ctaNATv6Max)
		if to.Addr().Is4() {
			first, last = ctaNATv4Min, ctaNATv4Max
		}
		ae.Bytes(first, to.Addr().AsSlice())
		ae.Bytes(last, to.Addr().AsSlice())
		ae.Nested(ctaNATProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint16(ctaNATPortMin, to.Port())
			ae.Uint16(ctaNATPortMax, to.Port())
			return nil
		})
		return nil
	}
}
