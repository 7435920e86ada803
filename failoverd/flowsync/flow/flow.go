// Package flow is one tracked connection and its form on the cable between the
// boxes. It guarantees that what Read returns is a flow the kernel may be given:
// known protocol, one address family, nothing out of range.
package flow

import (
	"fmt"
	"net/netip"
	"time"
)

// Protocols that travel. Others have no state worth keeping: a ping that is
// answered by the other box's kernel starts a new entry of its own.
const (
	TCP = 6
	UDP = 17
)

// An End is an address and a port. IPv4 is in its mapped form. It holds no
// pointer: a hundred thousand of them cost the garbage collector nothing.
type End struct {
	Addr [16]byte
	Port uint16
}

// EndOf returns the compact form.
func EndOf(a netip.AddrPort) End { return End{Addr: a.Addr().As16(), Port: a.Port()} }

// AddrPort returns the form for people and the kernel.
func (e End) AddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.Addr).Unmap(), e.Port)
}

func (e End) is4() bool { return netip.AddrFrom16(e.Addr).Is4In6() }

// A Tuple is one direction of a connection as its packets show it.
type Tuple struct{ Src, Dst End }

// Inverse is the direction of the answers if nobody rewrote addresses.
func (t Tuple) Inverse() Tuple { return Tuple{Src: t.Dst, Dst: t.Src} }

// A Key identifies a flow: the protocol and the direction of its first packet.
type Key struct {
	Proto uint8
	Tuple
}

func (k Key) String() string {
	name := map[uint8]string{TCP: "tcp", UDP: "udp"}[k.Proto]
	return fmt.Sprintf("%s %v > %v", name, k.Src.AddrPort(), k.Dst.AddrPort())
}

// Status bits that travel (linux/netfilter/nf_conntrack_common.h, IPS_*). The
// others are the kernel's own: it sets them when NAT is restored.
const (
	SeenReply = 1 << 1
	Assured   = 1 << 2
	Confirmed = 1 << 3

	StatusMask = SeenReply | Assured | Confirmed
)

// TCP states of the kernel (enum tcp_conntrack).
const (
	Established = 3
	FinWait     = 4
	CloseWait   = 5
	LastAck     = 6
)

// A Flow is what a box must know of a connection to carry it on.
type Flow struct {
	Key
	Reply   Tuple  // as the answers come in; differs from the inverse under NAT
	Status  uint16 // of StatusMask
	Mark    uint32 // connmark: which uplink it leaves by
	Timeout uint32 // seconds it had left
	State   uint8  // TCP only
	Scale   [2]uint8
}

// SNAT and DNAT report whether an end's address is rewritten.
func (f Flow) SNAT() bool { return f.Reply.Dst != f.Src }

// DNAT reports whether the destination is rewritten.
func (f Flow) DNAT() bool { return f.Reply.Src != f.Dst }

// Worth reports whether losing the flow would be noticed: it was answered, and it
// is not just opening or already over, when a client sends again by itself.
func (f Flow) Worth() bool {
	switch {
	case f.Status&SeenReply == 0:
		return false
	case f.Proto == TCP:
		return f.State >= Established && f.State <= LastAck
	}
	return f.Proto == UDP
}

// lasting is how long a flow must have left to count as one that people hold on
// to: an open TCP connection has days, a question to a name server 30 s.
const lasting = 10 * time.Minute

// Lasting reports whether the flow belongs to those that are dropped last.
func (f Flow) Lasting() bool { return time.Duration(f.Timeout)*time.Second >= lasting }

// maxTimeout is the kernel's longest, of an established TCP connection, twice.
const maxTimeout = 10 * 24 * 60 * 60

// maxScale is the largest window scale (RFC 7323 §2.3).
const maxScale = 14

// check complains about a flow that no kernel would have told of.
func (f Flow) check() error {
	v4 := f.Src.is4()
	switch {
	case f.Proto != TCP && f.Proto != UDP:
		return fmt.Errorf("flow: got protocol %d, want 6 or 17", f.Proto)
	case f.Dst.is4() != v4 || f.Reply.Src.is4() != v4 || f.Reply.Dst.is4() != v4:
		return fmt.Errorf("flow: got two address families in one flow")
	case f.Status&^StatusMask != 0 || f.Status&Confirmed == 0:
		return fmt.Errorf("flow: got status %#x, want confirmed and nothing outside %#x", f.Status, StatusMask)
	case f.Timeout > maxTimeout:
		return fmt.Errorf("flow: got timeout %d s, want at most %d", f.Timeout, maxTimeout)
	case f.Scale[0] > maxScale || f.Scale[1] > maxScale:
		return fmt.Errorf("flow: got window scales %v, want at most %d", f.Scale, maxScale)
	case !f.Worth():
		return fmt.Errorf("flow: got state %d, status %#x: not worth keeping", f.State, f.Status)
	case f.Proto == UDP && (f.State != 0 || f.Scale != [2]uint8{}):
		return fmt.Errorf("flow: got TCP state %d for UDP", f.State)
	}
	return nil
}
