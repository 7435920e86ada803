// Package lease gets an uplink its address by DHCPv4 (RFC 2131) and keeps it: it
// renews, rebinds, and remembers the lease on disk, so that a box that restarts
// while the provider's server is away has its address all the same. What a server
// says is checked before anyone acts on it.
package lease

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is an accepted answer of a server. It is stored as JSON.
type Lease struct {
	Address  netip.Prefix `json:"address"`
	Gateway  netip.Addr   `json:"gateway"`
	Server   netip.Addr   `json:"server,omitzero"` // invalid: unknown, renew by broadcast
	DNS      []netip.Addr `json:"dns,omitempty"`
	Acquired time.Time    `json:"acquired"`
	T1       time.Time    `json:"t1"` // from here on ask the server
	T2       time.Time    `json:"t2"` // from here on ask anyone
	Expiry   time.Time    `json:"expiry"`
}

// Bounds on what a server may say.
const (
	minLease   = 30 * time.Second // a shorter one would be nothing but renewing
	maxLease   = 30 * 24 * time.Hour
	someLease  = time.Hour // when the server names none
	maxDNS     = 3
	retryFloor = 60 * time.Second // RFC 2131 §4.4.5
)

// accept turns an ACK into a lease, or says what is wrong with it.
func accept(ack *dhcpv4.DHCPv4, now time.Time) (Lease, error) {
	own, ok := hostAddr(ack.YourIPAddr)
	if !ok {
		return Lease{}, fmt.Errorf("server offers address %s, want one a host can have", ack.YourIPAddr)
	}
	bits := 32
	if mask := ack.SubnetMask(); mask != nil {
		ones, size := mask.Size()
		if size != 32 || ones < 8 {
			return Lease{}, fmt.Errorf("server offers netmask %s, want /8 to /32", net.IP(mask))
		}
		bits = ones
	}
	gw, ok := gateway(ack)
	if !ok || gw == own {
		return Lease{}, errors.New("server offers no usable gateway")
	}
	l := Lease{Address: netip.PrefixFrom(own, bits), Gateway: gw, Acquired: now}
	if s, ok := hostAddr(ack.ServerIdentifier()); ok {
		l.Server = s
	}
	for _, ip := range ack.DNS() {
		if a, ok := hostAddr(ip); ok && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, a)
		}
	}
	l.times(ack, now)
	return l, nil
}

// times sets when to renew. The server's T1 and T2 are taken when they make sense,
// RFC 2131 §4.4.5's half and seven eighths otherwise.
func (l *Lease) times(ack *dhcpv4.DHCPv4, now time.Time) {
	whole := min(max(ack.IPAddressLeaseTime(someLease), minLease), maxLease)
	t1, t2 := ack.IPAddressRenewalTime(whole/2), ack.IPAddressRebindingTime(whole*7/8)
	if t1 < minLease/2 || t1 >= t2 || t2 >= whole {
		t1, t2 = whole/2, whole*7/8
	}
	l.T1, l.T2, l.Expiry = now.Add(t1), now.Add(t2), now.Add(whole)
}

// gateway is the default route's: of the classless routes if there are any, as
// RFC 3442 demands, or else the first router.
func gateway(ack *dhcpv4.DHCPv4) (netip.Addr, bool) {
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			if r.Dest == nil {
				continue
			}
			if ones, _ := r.Dest.Mask.Size(); ones == 0 {
				return hostAddr(r.Router)
			}
		}
		return netip.Addr{}, false
	}
	for _, ip := range ack.Router() {
		if a, ok := hostAddr(ip); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// hostAddr is an IPv4 address that a host can have.
func hostAddr(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok {
		return netip.Addr{}, false
	}
	b := a.As4()
	return a, b[0] != 0 && b[0] < 224 && b[0] != 127 && !a.IsLinkLocalUnicast()
}

// phase is what RFC 2131 figure 5 calls the client's state.
type phase int

const (
	bound phase = iota
	renewing
	rebinding
	expired
)

func (l Lease) phase(now time.Time) phase {
	switch {
	case now.Before(l.T1):
		return bound
	case now.Before(l.T2):
		return renewing
	case now.Before(l.Expiry):
		return rebinding
	}
	return expired
}

// next is when to act again after an attempt at now that was not answered: at half
// of what remains of the phase, but not more often than each minute.
func (l Lease) next(now time.Time) time.Time {
	end := l.T1
	switch l.phase(now) {
	case renewing:
		end = l.T2
	case rebinding:
		end = l.Expiry
	case expired:
		return now
	case bound:
		return end
	}
	if at := now.Add(max(end.Sub(now)/2, retryFloor)); at.Before(end) {
		return at
	}
	return end
}

// reusable says whether a lease read from disk may be used without a server's
// word. A clock that went backwards proves nothing about it.
func (l Lease) reusable(now time.Time) bool {
	return l.Address.IsValid() && l.Address.Addr().Is4() && l.Gateway.Is4() &&
		!now.Before(l.Acquired) && now.Before(l.Expiry) && l.Expiry.Sub(l.Acquired) <= maxLease
}
