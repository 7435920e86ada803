package dhcpd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"clinicgate/netd/config"
	"clinicgate/netd/dhcpd/leases"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Bounds of a message.
const (
	maxMessage = 1500
	maxName    = 63
)

// parse reads a device's message (RFC 2131 §2). Only Ethernet is served, and only
// devices of the LAN itself: a clinic has no relays.
func parse(b []byte) (*dhcpv4.DHCPv4, leases.Question, error) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, leases.Question{}, fmt.Errorf("not a DHCP message: %w", err)
	}
	q := leases.Question{
		Wanted: addr(m.RequestedIPAddress()), Has: addr(m.ClientIPAddr), Server: addr(m.ServerIdentifier()), Name: printable(m.HostName()),
	}
	switch {
	case m.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, q, errors.New("not from a client")
	case m.HWType != iana.HWTypeEthernet || len(m.ClientHWAddr) != len(q.MAC) || m.ClientHWAddr[0]&1 != 0 || config.MAC(m.ClientHWAddr) == config.MAC{}:
		return nil, q, errors.New("not from an Ethernet device")
	case m.HopCount != 0 || addr(m.GatewayIPAddr).IsValid():
		return nil, q, errors.New("from a relay")
	}
	q.MAC = config.MAC(m.ClientHWAddr)
	q.ID = identifier(m, q.MAC)
	kinds := map[dhcpv4.MessageType]leases.Kind{
		dhcpv4.MessageTypeDiscover: leases.Discover, dhcpv4.MessageTypeRequest: leases.Request, dhcpv4.MessageTypeDecline: leases.Decline,
		dhcpv4.MessageTypeRelease: leases.Release, dhcpv4.MessageTypeInform: leases.Inform,
	}
	kind, known := kinds[m.MessageType()]
	if !known {
		return nil, q, fmt.Errorf("a message of type %v", m.MessageType())
	}
	q.Kind = kind
	return m, q, nil
}

// identifier is option 61, or what most devices would put there (RFC 2132 §9.14).
func identifier(m *dhcpv4.DHCPv4, mac config.MAC) string {
	if id := m.GetOneOption(dhcpv4.OptionClientIdentifier); len(id) >= 2 && len(id) <= 255 {
		return hex.EncodeToString(id)
	}
	return "01" + hex.EncodeToString(mac[:])
}

// addr is an IPv4 address; 0.0.0.0 is none.
func addr(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// printable is what may be shown of what a device calls itself.
func printable(s string) string {
	keep := func(r rune) rune {
		if r > ' ' && r < 0x7f && r != '"' && r != '\\' {
			return r
		}
		return -1
	}
	s = strings.Map(keep, s)
	return s[:min(len(s), maxName)]
}

// A servant is what stays the same in every answer.
type servant struct {
	server    netip.Addr // as which we answer: the pair's address, or the box's own
	lan       netip.Prefix
	domain    string
	dns, time bool // whether the box offers them
}

// answer builds the message for a reply.
func (s servant) answer(m *dhcpv4.DHCPv4, r leases.Reply, name string) (*dhcpv4.DHCPv4, error) {
	kind := dhcpv4.MessageTypeAck
	switch r.Do {
	case leases.Offer:
		kind = dhcpv4.MessageTypeOffer
	case leases.Nak:
		kind = dhcpv4.MessageTypeNak
	}
	out, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.server.AsSlice())))
	if err != nil {
		return nil, err
	}
	if id := m.GetOneOption(dhcpv4.OptionClientIdentifier); id != nil {
		out.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id)) // RFC 6842 §3
	}
	if r.Do == leases.Nak {
		return out, nil
	}
	s.settings(out, name)
	inform := m.MessageType() == dhcpv4.MessageTypeInform
	if inform {
		out.ClientIPAddr = m.ClientIPAddr
		return out, nil // RFC 2131 §4.3.5: neither address nor time
	}
	out.YourIPAddr = r.Address.AsSlice()
	if kind == dhcpv4.MessageTypeAck {
		out.ClientIPAddr = m.ClientIPAddr
	}
	out.UpdateOption(dhcpv4.OptIPAddressLeaseTime(r.Time))
	out.UpdateOption(dhcpv4.OptRenewTimeValue(r.Time / 2))
	out.UpdateOption(dhcpv4.OptRebindingTimeValue(r.Time * 7 / 8))
	return out, nil
}

// settings adds what the LAN's devices need to know.
func (s servant) settings(out *dhcpv4.DHCPv4, name string) {
	out.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.lan.Bits(), 32)))
	out.UpdateOption(dhcpv4.OptBroadcastAddress(broadcast(s.lan).AsSlice()))
	out.UpdateOption(dhcpv4.OptRouter(s.server.AsSlice()))
	if s.dns {
		out.UpdateOption(dhcpv4.OptDNS(s.server.AsSlice()))
	}
	if s.domain != "" {
		out.UpdateOption(dhcpv4.OptDomainName(s.domain))
	}
	if s.time {
		out.UpdateOption(dhcpv4.OptNTPServers(s.server.AsSlice()))
	}
	if name != "" {
		out.UpdateOption(dhcpv4.OptHostName(name))
	}
}

// broadcast is a network's last address.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
