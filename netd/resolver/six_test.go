package resolver

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"clinicgate/netd/config"
)

// TestZoneOf: in IPv6 a device's zone is known by the networks of the moment, and by
// the port for an address of the link; nobody else has one.
func TestZoneOf(t *testing.T) {
	c := config.Config{DNS: &config.DNS{Domain: "clinic.internal"}, Zones: []config.Zone{
		{Name: "lan", Port: "lan", Virtual: []string{"cg-v7-6"}, Address: netip.MustParsePrefix("10.20.0.2/24")},
		{Name: "devices", Port: "lan.30", Address: netip.MustParsePrefix("10.20.30.2/24")},
	}}
	s := New(c, filepath.Join(t.TempDir(), "cache"), func(int) uint32 { return 0 }, slog.New(slog.DiscardHandler))
	net := func(zone, p string) Network { return Network{Zone: zone, Prefix: netip.MustParsePrefix(p)} }
	s.Networks([]Network{net("lan", "fd5a:1c3e:9b20::/64"), net("lan", "2001:db8:a00::/64"), net("devices", "fd5a:1c3e:9b20:1::/64")})
	for from, want := range map[string]string{
		"10.20.0.50": "lan", "10.20.30.60": "devices", "192.0.2.1": "",
		"fd5a:1c3e:9b20::50": "lan", "2001:db8:a00::50": "lan", "fd5a:1c3e:9b20:1::60": "devices",
		"fd5a:1c3e:9b20:2::60": "", "2001:db8:b00::50": "",
		"fe80::50%lan": "lan", "fe80::50%cg-v7-6": "lan", "fe80::60%lan.30": "devices", "fe80::1%wan1": "", "fe80::1": "",
	} {
		if z, inside := s.zone(netip.MustParseAddr(from)); z.Name != want || inside != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", from, z.Name, inside, want)
		}
	}
	s.Networks([]Network{net("lan", "fd5a:1c3e:9b20::/64")})
	if _, inside := s.zone(netip.MustParseAddr("2001:db8:a00::50")); inside {
		t.Error("a network that is gone is still the clinic's")
	}
}
