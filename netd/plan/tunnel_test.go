package plan

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/netd/config"
)

// TestClassTunnel: of two tunnels with one route, the flows of a class take theirs,
// all others the other; with neither device what belongs there is refused.
func TestClassTunnel(t *testing.T) {
	tunnel := func(name string, class int) config.Tunnel {
		return config.Tunnel{
			Name: name, Device: "cg-" + name, Class: class, Address: netip.MustParsePrefix("10.99.0.2/32"),
			Routes: []netip.Prefix{netip.MustParsePrefix("10.98.0.0/16")},
		}
	}
	k := Make(config.Config{LAN: config.LAN{Port: "lan"}, Tunnels: []config.Tunnel{tunnel("hub", -1), tunnel("bulk", 2)}}, nil, -1)
	var got []string
	for line := range strings.Lines(k.String()) {
		if strings.Contains(line, "10.98.") || strings.Contains(line, "rule 69") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := `rule 6901 from all fwmark 0x3000000/0xf000000 lookup 7401
route 10.98.0.0/16 dev cg-hub table 254 src 10.99.0.2 metric 71
route 10.98.0.0/16 dev cg-bulk table 254 src 10.99.0.2 metric 73
route unreachable 10.98.0.0/16 table 254 metric 4000000000
route 10.98.0.0/16 dev cg-bulk table 7401 src 10.99.0.2 metric 71`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s\nwant:\n%s", s, want)
	}
}
