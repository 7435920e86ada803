package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/site"
)

// A reader collects complaints while it turns text into values.
type reader struct {
	f    *site.File
	errs []error
}

func (r *reader) err() error { return errors.Join(r.errs...) }

func (r *reader) bad(key, format string, args ...any) {
	r.errs = append(r.errs, r.f.Errorf(key, format, args...))
}

var (
	// Names end up in device names ("cg-" + tunnel), faults and file names.
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,11}$`)
	// Three characters of a device name's 15 go to our address label (":cg").
	portForm = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,11}$`)
)

func (r *reader) name(key, got string, taken map[string]string) string {
	switch {
	case !nameForm.MatchString(got):
		r.bad(key, "got %q, want 1 to 12 of a-z, 0-9 and -", got)
	case taken[got] != "":
		r.bad(key, "%q is already the name at %s, want a name of its own", got, taken[got])
	default:
		taken[got] = r.f.At(key)
	}
	return got
}

func (r *reader) port(key, got string) string {
	if !portForm.MatchString(got) || got == "lo" || strings.HasPrefix(got, "cg-") {
		r.bad(key, "got %q, want a port of the board such as \"wan1\"", got)
	}
	return got
}

// host reads an address with its network, such as "10.20.0.2/24".
func (r *reader) host(key, got string) netip.Prefix {
	p, err := netip.ParsePrefix(got)
	switch {
	case err != nil || !p.Addr().Is4() || p.Bits() < 8:
		r.bad(key, "got %q, want an IPv4 address with its prefix length, such as \"198.51.100.2/24\"", got)
	case !usable(p.Addr()):
		r.bad(key, "got %q, want an address a host can have", got)
	case p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || p.Addr() == last(p)):
		r.bad(key, "got %q, the network's first or last address; want one between", got)
	default:
		return p
	}
	return netip.Prefix{}
}

func (r *reader) addr(key, got string) netip.Addr {
	a, err := netip.ParseAddr(got)
	if err != nil || !a.Is4() || !usable(a) {
		r.bad(key, "got %q, want an IPv4 address of a host, such as \"192.0.2.1\"", got)
		return netip.Addr{}
	}
	return a
}

func (r *reader) lan(s *section, c *Config) {
	c.LAN.Port, c.LAN.Tag = r.tagged("net.lan", s.LAN.Port, s.LAN.VLAN)
	c.LAN.Address = r.host("net.lan.address", s.LAN.Address)
}

func (r *reader) uplinks(s *section, c *Config) {
	if n := len(s.Uplink); n == 0 || n > maxUplinks {
		r.bad("net.uplink", "got %d uplinks, want 1 to %d", n, maxUplinks)
	}
	names := map[string]string{}
	for i, u := range s.Uplink {
		key := fmt.Sprintf("net.uplink[%d]", i)
		up := Uplink{
			Name:    r.name(key+".name", u.Name, names),
			Method:  u.Method,
			Metered: u.Metered,
			Terms:   r.terms(key, u.uplinkTerms),
		}
		up.Port, up.Tag = r.tagged(key, u.Port, u.VLAN)
		switch u.Method {
		case Static:
			up.Address = r.host(key+".address", u.Address)
			up.Gateway = r.gateway(key+".gateway", u.Gateway, up.Address)
		case DHCP:
			if u.Address != "" || u.Gateway != "" {
				r.bad(key+".method", "got \"dhcp\" with an address or gateway; want \"static\", or neither of them")
			}
		default:
			r.bad(key+".method", "got %q, want \"dhcp\" or \"static\"", u.Method)
		}
		c.Uplinks = append(c.Uplinks, up)
	}
}

func (r *reader) gateway(key, got string, in netip.Prefix) netip.Addr {
	a := r.addr(key, got)
	if a.IsValid() && in.IsValid() && (!in.Contains(a) || a == in.Addr()) {
		r.bad(key, "got %s, want another address inside %s", a, in.Masked())
	}
	return a
}

func (r *reader) probe(s *section, c *Config) {
	if n := len(s.Probe.Targets); n == 0 || n > maxTargets {
		r.bad("net.probe.targets", "got %d targets, want 1 to %d IPv4 addresses that answer a ping", n, maxTargets)
	}
	for _, t := range s.Probe.Targets {
		a := r.addr("net.probe.targets", t)
		if a.IsValid() && slices.Contains(c.Probe.Targets, a) {
			r.bad("net.probe.targets", "%s is listed twice", a)
		}
		c.Probe.Targets = append(c.Probe.Targets, a)
	}
	c.Probe.Stamp = r.reflector("net.probe.stamp", s.Probe.Stamp)
	c.Probe.Portal = r.page("net.probe.portal", s.Probe.Portal)
	c.Probe.Every = time.Duration(s.Probe.Every)
	if c.Probe.Every < 50*time.Millisecond || c.Probe.Every > time.Minute {
		r.bad("net.probe.every", "got %v, want 50ms to 1m", c.Probe.Every)
	}
	c.Probe.Lost, c.Probe.Back = s.Probe.Lost, s.Probe.Back
	if c.Probe.Lost < 2 || c.Probe.Lost > 20 {
		r.bad("net.probe.lost", "got %d, want 2 to 20", c.Probe.Lost)
	}
	if c.Probe.Back < 1 || c.Probe.Back > 100 {
		r.bad("net.probe.back", "got %d, want 1 to 100", c.Probe.Back)
	}
}

// network reads a prefix whose host bits are zero.
func (r *reader) network(key, got string) netip.Prefix {
	p, err := netip.ParsePrefix(got)
	if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p != p.Masked() {
		r.bad(key, "got %q, want an IPv4 network such as \"10.98.0.0/16\"", got)
		return netip.Prefix{}
	}
	return p
}

func (r *reader) services(key string, list []string) []Service {
	var all []Service
	for _, text := range list {
		s, ok := service(text)
		switch {
		case !ok:
			r.bad(key, "got %q, want \"icmp\", \"vrrp\", \"tcp/PORT\" or \"udp/PORT\"", text)
		case slices.Contains(all, s):
			r.bad(key, "%q is listed twice", text)
		default:
			all = append(all, s)
		}
	}
	return all
}

func service(text string) (Service, bool) {
	if text == "icmp" || text == "vrrp" {
		return Service{Proto: text}, true
	}
	proto, port, found := strings.Cut(text, "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if !found || err != nil || n == 0 || (proto != "tcp" && proto != "udp") {
		return Service{}, false
	}
	return Service{Proto: proto, Port: uint16(n)}, true
}

// usable reports whether a host can have the address.
func usable(a netip.Addr) bool {
	b := a.As4()
	return b[0] != 0 && b[0] < 224 && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}

// last returns the broadcast address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
