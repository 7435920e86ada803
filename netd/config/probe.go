package config

import (
	"net/netip"
	"net/url"
	"strings"
)

// stampPort is a STAMP reflector's registered UDP port (RFC 8762 §4.1).
const stampPort = 862

// reflector reads where a STAMP reflector answers, such as "192.0.2.1:862"; nothing
// is nobody.
func (r *reader) reflector(key, got string) netip.AddrPort {
	if got == "" {
		return netip.AddrPort{}
	}
	if a, err := netip.ParseAddr(got); err == nil && a.Is4() && usable(a) {
		return netip.AddrPortFrom(a, stampPort)
	}
	ap, err := netip.ParseAddrPort(got)
	if err != nil || !ap.Addr().Is4() || !usable(ap.Addr()) || ap.Port() == 0 {
		r.bad(key, "got %q, want the IPv4 address of a STAMP reflector, such as \"192.0.2.1:862\"", got)
	}
	return ap
}

// page reads the address of a page that answers with nothing; nothing is none. It is
// not https: a sign-in page could not answer in its place, and nobody would know.
func (r *reader) page(key, got string) string {
	if got == "" {
		return ""
	}
	u, err := url.Parse(got)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || len(got) > 200 || strings.ContainsAny(got, " \t\r\n") {
		r.bad(key, "got %q, want a page that answers 204 over plain HTTP, such as \"http://connectivity.example/generate_204\"", got)
		return ""
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && (!a.Is4() || !usable(a)) {
		r.bad(key, "got %q, want a name or an IPv4 address of a host", got)
	}
	return got
}
