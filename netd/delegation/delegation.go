// Package delegation gets a provider's IPv6 prefix for the clinic, and an address
// for the box where one is given, by DHCPv6 (RFC 8415). It keeps them: it renews,
// rebinds, and remembers them on disk, so that a box that restarts while the
// provider's server is away has its prefix all the same. What a server says is
// checked before anyone acts on it.
package delegation

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// Lease is an accepted answer of a server. It is stored as JSON.
type Lease struct {
	Prefix   netip.Prefix `json:"prefix,omitzero"`  // the clinic's; invalid: none was given
	Address  netip.Addr   `json:"address,omitzero"` // the box's; invalid: none was given
	Server   []byte       `json:"server"`           // its DUID
	Acquired time.Time    `json:"acquired"`
	T1       time.Time    `json:"t1"` // from here on ask the server
	T2       time.Time    `json:"t2"` // from here on ask any
	Expiry   time.Time    `json:"expiry"`
}

// Bounds on what a server may say.
const (
	minLease    = time.Minute // a shorter one would be nothing but renewing
	maxLease    = 30 * 24 * time.Hour
	shortest    = 32 // length of a prefix
	longest     = 64
	maxDUID     = 130 // RFC 8415, §11.1
	maxMessage  = 1500
	maxPrefixes = 8 // looked at in one message
)

var (
	// errNo is a server's refusal, or ours of what it offers.
	errNo = errors.New("no prefix")
	// errOther is an answer to someone else, or not an answer.
	errOther = errors.New("not an answer to us")
)

// answer reads a message that may be the answer to ask, from a server that is to
// be the given one, if that is known.
func answer(b []byte, ask *dhcpv6.Message, want dhcpv6.MessageType, server []byte) (*dhcpv6.Message, error) {
	if len(b) > maxMessage {
		return nil, errOther
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("read DHCPv6 message: %w", err)
	}
	us, them := m.Options.ClientID(), m.Options.ServerID()
	if m.MessageType != want || m.TransactionID != ask.TransactionID || us == nil || them == nil || !us.Equal(ask.Options.ClientID()) {
		return nil, errOther
	}
	if id := them.ToBytes(); len(id) > maxDUID || server != nil && !bytes.Equal(id, server) {
		return nil, errOther
	}
	return m, nil
}

// accept turns an answer into a lease, or says what is wrong with it.
func accept(m *dhcpv6.Message, id [4]byte, now time.Time) (Lease, error) {
	if s := m.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return Lease{}, fmt.Errorf("%w: the server says %s", errNo, s.StatusCode)
	}
	l := Lease{Server: m.Options.ServerID().ToBytes(), Acquired: now}
	whole := time.Duration(0)
	var t1, t2 time.Duration
	why := error(nil)
	for _, ia := range m.Options.IAPD() {
		if ia.IaId != id || l.Prefix.IsValid() {
			continue
		}
		if s := ia.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
			why = fmt.Errorf("%w: the server says %s", errNo, s.StatusCode)
			continue
		}
		l.Prefix, whole = delegated(ia)
		t1, t2 = ia.T1, ia.T2
	}
	for _, ia := range m.Options.IANA() {
		if ia.IaId != id || l.Address.IsValid() || ia.Options.Status() != nil && ia.Options.Status().StatusCode != iana.StatusSuccess {
			continue
		}
		for _, a := range ia.Options.Addresses() {
			if ip, ok := netip.AddrFromSlice(a.IPv6Addr.To16()); ok && usable(ip) && a.ValidLifetime > 0 {
				l.Address = ip
				if !l.Prefix.IsValid() {
					whole, t1, t2 = a.ValidLifetime, ia.T1, ia.T2
				}
				break
			}
		}
	}
	switch {
	case why != nil && !l.Prefix.IsValid() && !l.Address.IsValid():
		return Lease{}, why
	case !l.Prefix.IsValid() && !l.Address.IsValid():
		return Lease{}, fmt.Errorf("%w: the server offers nothing usable", errNo)
	}
	l.times(whole, t1, t2, now)
	return l, nil
}

// delegated is the first usable prefix, and for how long it is valid.
func delegated(ia *dhcpv6.OptIAPD) (netip.Prefix, time.Duration) {
	all := ia.Options.Prefixes()
	for _, o := range all[:min(len(all), maxPrefixes)] {
		if o.Prefix == nil || o.ValidLifetime <= 0 || o.PreferredLifetime > o.ValidLifetime {
			continue
		}
		ip, ok := netip.AddrFromSlice(o.Prefix.IP.To16())
		bits, size := o.Prefix.Mask.Size()
		if p := netip.PrefixFrom(ip, bits).Masked(); ok && size == 128 && bits >= shortest && bits <= longest && usable(p.Addr()) {
			return p, o.ValidLifetime
		}
	}
	return netip.Prefix{}, 0
}

// usable reports whether the internet may know the address: 2000::/3 (RFC 4291).
func usable(a netip.Addr) bool { return a.Is6() && a.As16()[0]>>5 == 1 }

// times sets when to renew. The server's T1 and T2 are taken when they make sense,
// RFC 8415 §14.2's half and four fifths otherwise.
func (l *Lease) times(whole, t1, t2 time.Duration, now time.Time) {
	whole = min(max(whole, minLease), maxLease)
	if t1 < minLease/2 || t1 >= t2 || t2 >= whole {
		t1, t2 = whole/2, whole*4/5
	}
	l.T1, l.T2, l.Expiry = now.Add(t1), now.Add(t2), now.Add(whole)
}

// retryFloor is the least time between attempts to renew.
const retryFloor = 30 * time.Second

// next is when to act again after an attempt at now that was not answered: at half
// of what remains until T2 or the end, but not too often.
func (l Lease) next(now time.Time) time.Time {
	end := l.Expiry
	if now.Before(l.T2) {
		end = l.T2
	}
	if at := now.Add(max(end.Sub(now)/2, retryFloor)); at.Before(end) {
		return at
	}
	return end
}

// reusable says whether a lease read from disk may be used without a server's
// word. A clock that went backwards proves nothing about it.
func (l Lease) reusable(now time.Time) bool {
	given := l.Prefix.IsValid() || l.Address.IsValid()
	fine := (!l.Prefix.IsValid() || l.Prefix == l.Prefix.Masked() && l.Prefix.Bits() >= shortest && l.Prefix.Bits() <= longest && usable(l.Prefix.Addr())) &&
		(!l.Address.IsValid() || usable(l.Address)) && len(l.Server) <= maxDUID
	return given && fine && !now.Before(l.Acquired) && now.Before(l.Expiry) && l.Expiry.Sub(l.Acquired) <= maxLease
}
