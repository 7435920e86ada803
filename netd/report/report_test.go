package report

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/turn"
	"clinicgate/netd/uplink"
	"clinicgate/netd/volume"
)

var rewrite = flag.Bool("rewrite", false, "write what is reported into testdata")

func clock(text string) time.Time {
	at, _ := time.Parse(time.TimeOnly, text)
	return at.AddDate(2026, 10, 21)
}

// healthy is a clinic in which all is well at 08:00:00.
func healthy() Snapshot {
	now := clock("08:00:00")
	s := Snapshot{LAN: wire.LAN{Port: "lan", Carrier: true, Address: "10.20.0.2/24"}, Started: clock("07:00:00")}
	for i, name := range []string{"isp-a", "isp-b"} {
		s.Uplinks = append(s.Uplinks, Uplink{
			Config:  config.Uplink{Name: name, Port: []string{"wan1", "wan2"}[i], Terms: config.Terms{Role: config.Primary, Price: 2}},
			Status:  uplink.Status{State: wire.UplinkUp, Reason: "first probe answered", Since: clock("07:00:02"), RTT: 12345 * time.Microsecond},
			Address: netip.MustParsePrefix([]string{"100.64.1.100/24", "198.51.100.2/24"}[i]),
			Gateway: netip.MustParseAddr([]string{"100.64.1.1", "198.51.100.1"}[i]), Rx: 10, Tx: 20,
			Use: Use{Share: 100 - 100*i, Month: month(12.5e9), Rx: 2e6, Tx: 1e5},
		})
	}
	t := Tunnel{
		Config: config.Tunnel{
			Name: "hub", Device: "cg-hub", Address: netip.MustParsePrefix("10.99.0.2/32"), KeyFile: "hub.key",
			Hubs: []config.Hub{{Endpoint: netip.MustParseAddrPort("192.0.2.1:51820")}},
		},
		Since: clock("07:00:03"), Handshake: now.Add(-time.Minute), Called: now.Add(-time.Minute), Rx: 1, Tx: 2,
	}
	t.State, t.Reason = Judge(t, true, now)
	s.Tunnels = []Tunnel{t}
	return s
}

func month(bytes float64) volume.Record {
	return volume.Record{Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Bytes: uint64(bytes)}
}

func TestNet(t *testing.T) {
	const file = "testdata/netd.json"
	got, err := json.MarshalIndent(healthy().Net(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(got) != string(want) {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, got, want)
	}
}

func TestJudge(t *testing.T) {
	now := clock("08:00:00")
	asked := config.Tunnel{Hubs: []config.Hub{{Probe: netip.MustParseAddr("10.99.0.1")}}}
	for name, c := range map[string]struct {
		tunnel Tunnel
		usable bool
		state  string
		reason string
	}{
		"live":           {Tunnel{Handshake: now.Add(-time.Minute)}, true, wire.TunnelUp, "the hub answers"},
		"never":          {Tunnel{}, true, wire.TunnelDown, "the hub has not answered yet"},
		"old":            {Tunnel{Handshake: now.Add(-3 * time.Minute)}, true, wire.TunnelDown, "the hub does not answer since 2026-11-22 07:57:00 UTC"},
		"other's turn":   {Tunnel{Handshake: now, Turn: turn.Turn{Rest: true, Why: "the other box runs it"}}, true, wire.TunnelStandby, "the other box runs it"},
		"clock behind":   {Tunnel{Turn: turn.Turn{Late: true, Why: "the clock is 10m0s behind"}}, true, wire.TunnelDown, "the clock is 10m0s behind"},
		"listens anyway": {Tunnel{Handshake: now, Turn: turn.Turn{Late: true, Why: "the clock is 10m0s behind"}}, true, wire.TunnelUp, "the hub answers"},
		"no uplink":      {Tunnel{Handshake: now.Add(-time.Second)}, false, wire.TunnelDown, "no uplink is usable"},
		"answers inside": {Tunnel{Handshake: now, Config: asked, Live: uplink.Status{State: wire.UplinkDegraded}}, true, wire.TunnelUp, "the hub answers"},
		"silent inside":  {Tunnel{Handshake: now, Config: asked, Live: uplink.Status{State: wire.UplinkDown}}, true, wire.TunnelDown, "the tunnel is made, but 10.99.0.1 does not answer in it"},
		"no session":     {Tunnel{Broken: "no key"}, true, wire.TunnelDown, "no key"},
	} {
		if c.tunnel.Config.Hubs == nil {
			c.tunnel.Config.Hubs = make([]config.Hub, 1)
		}
		if state, reason := Judge(c.tunnel, c.usable, now); state != c.state || reason != c.reason {
			t.Errorf("%s: got %s, %q, want %s, %q", name, state, reason, c.state, c.reason)
		}
	}
}

// TestFaults changes one thing of a healthy clinic and looks which faults stand.
func TestFaults(t *testing.T) {
	now := clock("08:00:00")
	a := func(state, reason, since string) func(*Snapshot) {
		return func(s *Snapshot) {
			s.Uplinks[0].Status = uplink.Status{State: state, Reason: reason, Since: clock(since)}
		}
	}
	for name, c := range map[string]struct {
		change func(*Snapshot)
		want   string // "ID where: what", joined; empty: none
	}{
		"all well":          {func(*Snapshot) {}, ""},
		"cable out":         {a(wire.UplinkNoLink, "no carrier", "07:59:00"), "uplink.no-link port wan1: no carrier on wan1 (uplink isp-a)"},
		"cable out just so": {a(wire.UplinkNoLink, "no carrier", "07:59:58"), ""},
		"no lease":          {a(wire.UplinkNoAddress, "no DHCP server answers", "07:59:00"), "uplink.no-lease uplink isp-a: no address on wan1: no DHCP server answers"},
		"no lease yet":      {a(wire.UplinkNoAddress, "waiting for an address", "07:59:55"), ""},
		"no answer yet":     {a(wire.UplinkDown, "waiting for the first answer to a probe", "07:59:58"), ""},
		"silent": {func(s *Snapshot) {
			a(wire.UplinkDown, "3 probes in a row unanswered", "07:59:59")(s)
			s.Uplinks[0].Status.Failed = true
		}, "uplink.down uplink isp-a: nothing comes back through wan1: 3 probes in a row unanswered"},
		"lossy": {a(wire.UplinkDegraded, "5 of 20 probes lost", "07:59:00"), "uplink.degraded uplink isp-a: wan1 works badly: 5 of 20 probes lost"},
		"cap nearly used up": {func(s *Snapshot) { s.Uplinks[0].Config.Cap, s.Uplinks[0].Use.Month = 50e9, month(41e9) },
			"uplink.cap uplink isp-a: 41 GB of the month's 50 GB are used up by isp-a"},
		"cap used up": {func(s *Snapshot) { s.Uplinks[0].Config.Cap, s.Uplinks[0].Use.Month = 50e9, month(49.5e9) },
			"uplink.cap uplink isp-a: 49.5 GB of the month's 50 GB are used up by isp-a: it is a last resort until 2026-12-01"},
		"sign-in page":  {a(wire.UplinkCaptive, "a sign-in page of x answers", "07:59:59"), "uplink.captive uplink isp-a: a sign-in page of x answers"},
		"LAN cable out": {func(s *Snapshot) { s.LANWhy = "no carrier" }, "lan.no-link port lan: no carrier on lan (the clinic's side)"},
		"zone's cable out": {func(s *Snapshot) { s.Zones = []Zone{{"devices", "lan.30", "no carrier"}, {"guests", "lan.40", ""}} },
			"zone.no-link port lan.30: no carrier on lan.30 (zone devices)"},
		"no IPv6": {func(s *Snapshot) {
			s.Uplinks[1].Without, s.Uplinks[1].IPv6 = true, &wire.UplinkIPv6{Reason: "no router advertises itself"}
		}, "uplink.no-ipv6 uplink isp-b: no IPv6 on wan2: no router advertises itself"},
		"firewall refused": {func(s *Snapshot) { s.Firewall = "line 4" }, "firewall.failed netd: line 4"},
		"kernel refused":   {func(s *Snapshot) { s.Kernel = "add route: exists" }, "netd.kernel netd: add route: exists"},
		"setting": {func(s *Snapshot) { s.Settings = []string{"net/ipv4/ip_forward = 1"} },
			"netd.settings kernel setting net/ipv4/ip_forward = 1: wrong value, and netd may not change it: net/ipv4/ip_forward = 1"},
		"no key": {func(s *Snapshot) { s.Tunnels[0].Broken = "no key" }, "tunnel.broken tunnel hub: no key"},
		"hub gone": {func(s *Snapshot) {
			s.Tunnels[0].State, s.Tunnels[0].Reason = wire.TunnelDown, "the hub has not answered yet"
		},
			"tunnel.down tunnel hub: the hub has not answered yet (192.0.2.1:51820)"},
		"both gone": {func(s *Snapshot) {
			a(wire.UplinkNoLink, "no carrier", "07:00:00")(s)
			s.Uplinks[1].Status = s.Uplinks[0].Status
			s.Tunnels = nil
		}, "netd.no-uplink netd: no internet provider can be used; uplink.no-link port wan1: no carrier on wan1 (uplink isp-a); uplink.no-link port wan2: no carrier on wan2 (uplink isp-b)"},
	} {
		s := healthy()
		c.change(&s)
		faults := s.Faults(now)
		var got []string
		for _, id := range IDs() {
			for _, f := range faults[id] {
				got = append(got, f.ID+" "+f.Where+": "+f.What)
				if f.ID != id || f.Do == "" || f.Severity == "" {
					t.Errorf("%s: %+v under %s", name, f, id)
				}
			}
			delete(faults, id)
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
		if len(faults) > 0 {
			t.Errorf("%s: faults that IDs does not list: %v", name, faults)
		}
	}
}
