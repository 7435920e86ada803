package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Lookup finds the IPv4 addresses of a name for the box itself.
func (s *Server) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	s.mu.Lock()
	running := s.ctx != nil
	s.mu.Unlock()
	if !running {
		return nil, errors.New("the resolver does not run yet")
	}
	r := s.resolve(ctx, question{name: strings.ToLower(dns.Fqdn(name)), kind: dns.TypeA})
	if r.m.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("look up %s: %s", name, dns.RcodeToString[r.m.Rcode])
	}
	var all []netip.Addr
	for _, rr := range r.m.Answer {
		if a, ok := rr.(*dns.A); ok {
			if addr, ok := netip.AddrFromSlice(a.A.To4()); ok {
				all = append(all, addr)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("look up %s: no address", name)
	}
	return all, nil
}
