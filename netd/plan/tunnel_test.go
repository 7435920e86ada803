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

// TestTunnelMTU: a tunnel's packets fit into every uplink that carries large ones.
func TestTunnelMTU(t *testing.T) {
	c := config.Config{Uplinks: make([]config.Uplink, 3)}
	c.Uplinks[2].Metered = true
	for name, x := range map[string]struct {
		states  [3]string
		carries [3]int
		fixed   int
		want    int
	}{
		"unknown":           {[3]string{"up", "up", "up"}, [3]int{}, 0, 1420},
		"narrow one":        {[3]string{"up", "up", "up"}, [3]int{1480, 1400, 0}, 0, 1328},
		"narrow one down":   {[3]string{"up", "down", "up"}, [3]int{1480, 1400, 0}, 0, 1420},
		"narrow metered":    {[3]string{"up", "up", "up"}, [3]int{1480, 1480, 1280}, 0, 1420},
		"only metered":      {[3]string{"down", "down", "degraded"}, [3]int{1280, 1280, 1300}, 0, 1232},
		"as the site wants": {[3]string{"up", "up", "up"}, [3]int{1280, 1280, 1280}, 1380, 1380},
		"none":              {[3]string{"", "", ""}, [3]int{}, 0, 1420},
	} {
		ups := make([]Uplink, 3)
		for i := range ups {
			ups[i] = Uplink{State: x.states[i], Carries: x.carries[i]}
		}
		if got := TunnelMTU(c, config.Tunnel{MTU: x.fixed}, ups); got != x.want {
			t.Errorf("%s: got %d, want %d", name, got, x.want)
		}
	}
}
