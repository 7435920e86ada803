// Package names knows what the clinic answers by itself: the box's name, its
// reserved devices', the way back from their addresses, and the names that have no
// meaning outside (RFC 6761, RFC 6303, RFC 6762, RFC 7686, RFC 8375). None of them
// is ever asked of a provider. It also knows which public answers would lead a
// browser into the clinic.
package names

import (
	"net/netip"
	"slices"
	"strings"

	"clinicgate/netd/config"

	"github.com/miekg/dns"
)

// ttl of local answers, in seconds: short, as a site file may change.
const ttl = 60

// Names is what one box answers by itself. It is immutable.
type Names struct {
	zones   []config.Zone
	devices map[string]netip.Addr // by name, lower case, with the dot at its end
	reverse map[netip.Addr]string
	domain  string
	allowed []string // domains that may have private addresses
	outside []string // domains that have name servers of their own
	inner   []netip.Prefix
}

// New returns the names of the configuration, which has DNS.
func New(c config.Config) *Names {
	n := &Names{zones: c.Zones, domain: c.DNS.Domain + ".", devices: map[string]netip.Addr{}, reverse: map[netip.Addr]string{}}
	for _, d := range c.DHCP {
		for _, r := range d.Reservations {
			name := r.Name + "." + n.domain
			n.devices[name], n.reverse[r.Address] = r.Address, name
		}
	}
	for _, z := range c.Zones {
		for _, a := range []netip.Addr{z.Address.Addr(), z.Gateway()} {
			n.reverse[a] = config.GatewayName + "."
		}
		n.inner = append(n.inner, z.Address.Masked())
	}
	for _, p := range c.DNS.Private {
		n.allowed = append(n.allowed, p+".")
	}
	for _, z := range c.DNS.Zones {
		n.allowed, n.outside = append(n.allowed, z.Name+"."), append(n.outside, z.Name+".")
	}
	for _, t := range c.Tunnels {
		n.inner = append(n.inner, t.Routes...)
	}
	return n
}

// Zone returns the zone that an address is in; false: it is none of the clinic's.
func (n *Names) Zone(from netip.Addr) (config.Zone, bool) {
	i := slices.IndexFunc(n.zones, func(z config.Zone) bool { return z.Address.Contains(from) })
	if i < 0 {
		return config.Zone{}, false
	}
	return n.zones[i], true
}

// Answer returns the answer to a question that is the box's to answer, for a
// device in the zone. False: others must be asked.
func (n *Names) Answer(q dns.Question, from config.Zone) (*dns.Msg, bool) {
	name := strings.ToLower(q.Name)
	if slices.ContainsFunc(n.outside, func(d string) bool { return dns.IsSubDomain(d, name) }) {
		return nil, false
	}
	switch {
	case name == config.GatewayName+"." || name == "gateway."+n.domain:
		return address(q, from.Gateway()), true
	case dns.IsSubDomain(n.domain, name):
		a, known := n.devices[name]
		if !known || from.Kind == config.KindGuests { // guests need not know who is there
			return nothing(q, n.domain, name == n.domain), true
		}
		return address(q, a), true
	case dns.IsSubDomain("localhost.", name):
		return localhost(q), true
	case dns.IsSubDomain("in-addr.arpa.", name) || dns.IsSubDomain("ip6.arpa.", name):
		return n.back(q, name, from)
	}
	for _, d := range [...]string{"internal.", "local.", "invalid.", "onion.", "home.arpa.", "test."} {
		if dns.IsSubDomain(d, name) {
			return nothing(q, d, name == d), true
		}
	}
	return nil, false
}

// address answers a question for a name that has one IPv4 address.
func address(q dns.Question, a netip.Addr) *dns.Msg {
	if q.Qtype != dns.TypeA {
		return nothing(q, q.Name, true)
	}
	m := found(q)
	m.Answer = []dns.RR{&dns.A{Hdr: header(q), A: a.AsSlice()}}
	return m
}

func localhost(q dns.Question) *dns.Msg {
	m := found(q)
	switch q.Qtype {
	case dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: header(q), A: []byte{127, 0, 0, 1}}}
	case dns.TypeAAAA:
		m.Answer = []dns.RR{&dns.AAAA{Hdr: header(q), AAAA: netip.IPv6Loopback().AsSlice()}}
	default:
		return nothing(q, "localhost.", true)
	}
	return m
}

// back answers for the clinic's own addresses and for those that mean nothing
// outside; what the internet has is asked of the internet.
func (n *Names) back(q dns.Question, name string, from config.Zone) (*dns.Msg, bool) {
	a, exact, ok := reversed(name)
	if !ok {
		return nil, false
	}
	if host, known := n.reverse[a]; known && exact && from.Kind != config.KindGuests {
		if q.Qtype != dns.TypePTR {
			return nothing(q, q.Name, true), true
		}
		m := found(q)
		m.Answer = []dns.RR{&dns.PTR{Hdr: header(q), Ptr: host}}
		return m, true
	}
	if n.private(a) {
		return nothing(q, q.Name, false), true
	}
	return nil, false
}

// reversed reads "1.0.20.10.in-addr.arpa." Of a name with fewer labels, which is a
// network's, it is the first address, and of one with more what they stand before:
// exact is false then. Other names are no address.
func reversed(name string) (a netip.Addr, exact, ok bool) {
	var text string
	labels, want, step := []string(nil), 4, 1
	if text, ok = strings.CutSuffix(name, ".in-addr.arpa."); !ok {
		text, ok = strings.CutSuffix(name, ".ip6.arpa.")
		want, step = 32, 4
	}
	if labels = strings.Split(text, "."); !ok {
		return a, false, false
	}
	exact = len(labels) == want
	labels = labels[max(len(labels)-want, 0):]
	slices.Reverse(labels)
	for len(labels) < want {
		labels = append(labels, "0")
	}
	var b strings.Builder
	for i, l := range labels {
		switch {
		case i > 0 && step == 1:
			b.WriteByte('.')
		case i > 0 && i%step == 0:
			b.WriteByte(':')
		}
		if len(l) > 3 || step == 4 && len(l) != 1 {
			return a, false, false
		}
		b.WriteString(l)
	}
	a, err := netip.ParseAddr(b.String())
	return a, exact, err == nil
}

func header(q dns.Question) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
}

func found(q dns.Question) *dns.Msg {
	return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Question: []dns.Question{q}}
}

// nothing says that a name is not there, or has nothing of the type (RFC 2308).
func nothing(q dns.Question, zone string, exists bool) *dns.Msg {
	m := found(q)
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  config.GatewayName + ".", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}}
	return m
}

// Inward returns an address in an answer that lies inside the clinic, in its
// tunnels or in nobody's network, under a name that may not have such: a page of a
// stranger could make a browser speak to the clinic's devices as if they were its
// own (DNS rebinding).
func (n *Names) Inward(name string, m *dns.Msg) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if slices.ContainsFunc(n.allowed, func(d string) bool { return dns.IsSubDomain(d, name) }) {
		return netip.Addr{}, false
	}
	for _, rr := range m.Answer {
		for _, a := range addresses(rr) {
			if n.private(a.Unmap()) {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// addresses are those that a browser would go to.
func addresses(rr dns.RR) (all []netip.Addr) {
	add := func(b []byte) {
		if a, ok := netip.AddrFromSlice(b); ok {
			all = append(all, a)
		}
	}
	hints := func(list []dns.SVCBKeyValue) {
		for _, kv := range list {
			switch h := kv.(type) {
			case *dns.SVCBIPv4Hint:
				for _, ip := range h.Hint {
					add(ip)
				}
			case *dns.SVCBIPv6Hint:
				for _, ip := range h.Hint {
					add(ip)
				}
			}
		}
	}
	switch rr := rr.(type) {
	case *dns.A:
		add(rr.A)
	case *dns.AAAA:
		add(rr.AAAA)
	case *dns.SVCB:
		hints(rr.Value)
	case *dns.HTTPS:
		hints(rr.Value)
	}
	return all
}

// nat64 is where an IPv4 address hides in an IPv6 one (RFC 6052 §2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func (n *Names) private(a netip.Addr) bool {
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	a = a.Unmap()
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	zero := a.Is4() && a.As4()[0] == 0
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || zero || slices.ContainsFunc(n.inner, in)
}
