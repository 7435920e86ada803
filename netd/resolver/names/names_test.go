package names

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/netd/config"

	"github.com/miekg/dns"
)

func lan() config.Zone {
	return config.Zone{Name: "lan", Kind: config.KindStaff, Address: netip.MustParsePrefix("10.20.0.2/24"), Shared: netip.MustParseAddr("10.20.0.1")}
}

func guests() config.Zone {
	return config.Zone{Name: "guests", Kind: config.KindGuests, Address: netip.MustParsePrefix("10.30.0.1/24")}
}

func clinic() *Names {
	return New(config.Config{
		Zones:   []config.Zone{lan(), guests()},
		DHCP:    []config.Addresses{{Reservations: []config.Reservation{{Address: netip.MustParseAddr("10.20.0.60"), Name: "ecg-cart"}}}},
		DNS:     &config.DNS{Domain: "clinic.internal", Private: []string{"corp.example"}, Zones: []config.ResolverZone{{Name: "hospital.internal"}}},
		Tunnels: []config.Tunnel{{Routes: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15")}}},
	})
}

func TestAnswer(t *testing.T) {
	n := clinic()
	for _, c := range []struct {
		name string
		kind uint16
		from config.Zone
		want string // address or name, "NXDOMAIN", "nothing", or "elsewhere"
	}{
		{"gateway.internal.", dns.TypeA, lan(), "10.20.0.1"},
		{"GateWay.Internal.", dns.TypeA, guests(), "10.30.0.1"},
		{"gateway.clinic.internal.", dns.TypeA, lan(), "10.20.0.1"},
		{"gateway.internal.", dns.TypeAAAA, lan(), "nothing"},
		{"ecg-cart.clinic.internal.", dns.TypeA, lan(), "10.20.0.60"},
		{"ecg-cart.clinic.internal.", dns.TypeMX, lan(), "nothing"},
		{"ecg-cart.clinic.internal.", dns.TypeA, guests(), "NXDOMAIN"},
		{"x.clinic.internal.", dns.TypeA, lan(), "NXDOMAIN"},
		{"clinic.internal.", dns.TypeA, lan(), "nothing"},
		{"other.internal.", dns.TypeA, lan(), "NXDOMAIN"},
		{"pacs.hospital.internal.", dns.TypeA, lan(), "elsewhere"},
		{"60.0.20.10.in-addr.arpa.", dns.TypePTR, lan(), "ecg-cart.clinic.internal."},
		{"60.0.20.10.in-addr.arpa.", dns.TypePTR, guests(), "NXDOMAIN"},
		{"2.0.20.10.in-addr.arpa.", dns.TypePTR, lan(), "gateway.internal."},
		{"9.0.20.10.in-addr.arpa.", dns.TypePTR, lan(), "NXDOMAIN"},
		{"1.1.168.192.in-addr.arpa.", dns.TypePTR, lan(), "NXDOMAIN"},
		{"168.192.in-addr.arpa.", dns.TypeSOA, lan(), "NXDOMAIN"},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, lan(), "elsewhere"},
		{"lb._dns-sd._udp.0.0.20.10.in-addr.arpa.", dns.TypePTR, lan(), "NXDOMAIN"},
		{"lb._dns-sd._udp.0.0.2.192.in-addr.arpa.", dns.TypePTR, lan(), "elsewhere"},
		{"8.e.f.ip6.arpa.", dns.TypeSOA, lan(), "NXDOMAIN"},
		{"8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, lan(), "elsewhere"},
		{"ip6.arpa.", dns.TypeNS, lan(), "elsewhere"},
		{"1." + strings.Repeat("0.", 28) + "8.e.f.ip6.arpa.", dns.TypePTR, lan(), "NXDOMAIN"},
		{"localhost.", dns.TypeA, lan(), "127.0.0.1"},
		{"a.localhost.", dns.TypeAAAA, lan(), "::1"},
		{"printer.local.", dns.TypeA, lan(), "NXDOMAIN"},
		{"x.onion.", dns.TypeA, lan(), "NXDOMAIN"},
		{"example.com.", dns.TypeA, lan(), "elsewhere"},
		{".", dns.TypeNS, lan(), "elsewhere"},
	} {
		m, ours := n.Answer(dns.Question{Name: c.name, Qtype: c.kind, Qclass: dns.ClassINET}, c.from)
		got := "elsewhere"
		switch {
		case ours && m.Rcode == dns.RcodeNameError:
			got = "NXDOMAIN"
		case ours && len(m.Answer) == 0:
			got = "nothing"
		case ours:
			fields := strings.Fields(m.Answer[0].String())
			got = fields[len(fields)-1]
		}
		if got != c.want {
			t.Errorf("%s %s for %s: got %s, want %s", c.name, dns.TypeToString[c.kind], c.from.Name, got, c.want)
		}
		if ours && len(m.Answer) == 0 && len(m.Ns) != 1 {
			t.Errorf("%s: no SOA with a negative answer", c.name)
		}
		if ours {
			if _, err := m.Pack(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestInward(t *testing.T) {
	n := clinic()
	for record, want := range map[string]bool{
		"evil.example. 1 IN A 10.20.0.2":                            true,
		"evil.example. 1 IN A 127.0.0.1":                            true,
		"evil.example. 1 IN A 0.0.0.0":                              true,
		"evil.example. 1 IN A 169.254.1.1":                          true,
		"evil.example. 1 IN A 198.18.0.9":                           true, // behind the tunnel
		"evil.example. 1 IN A 192.0.2.1":                            false,
		"evil.example. 1 IN AAAA ::ffff:10.20.0.2":                  true,
		"evil.example. 1 IN AAAA 64:ff9b::a14:2":                    true,
		"evil.example. 1 IN AAAA fd00::1":                           true,
		"evil.example. 1 IN AAAA ::1":                               true,
		"evil.example. 1 IN AAAA 2001:db8::1":                       false,
		"evil.example. 1 IN HTTPS 1 . ipv4hint=192.0.2.1,10.20.0.2": true,
		"evil.example. 1 IN HTTPS 1 . ipv6hint=2001:db8::1":         false,
		"evil.example. 1 IN TXT \"10.20.0.2\"":                      false,
		"www.corp.example. 1 IN A 10.1.2.3":                         false,
		"pacs.hospital.internal. 1 IN A 10.98.2.10":                 false,
		"xcorp.example. 1 IN A 10.1.2.3":                            true,
	} {
		rr, err := dns.NewRR(record)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := n.Inward(rr.Header().Name, &dns.Msg{Answer: []dns.RR{rr}}); got != want {
			t.Errorf("%s: got %v, want %v", record, got, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("1.0.20.10.in-addr.arpa.", uint16(12))
	f.Add(strings.Repeat("f.", 32)+"ip6.arpa.", uint16(12))
	f.Add("gateway.internal.", uint16(255))
	n := clinic()
	f.Fuzz(func(t *testing.T, name string, kind uint16) {
		if _, ok := dns.IsDomainName(name); !ok {
			return
		}
		if m, ours := n.Answer(dns.Question{Name: dns.Fqdn(name), Qtype: kind, Qclass: 1}, lan()); ours && m == nil {
			t.Fatal("ours, and no answer")
		}
	})
}
