package status

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func TestUplinksFit(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	u := wire.Uplink{
		Name: "twelve-chars", Port: "wan1", State: wire.UplinkNoAddress, Reason: "no DHCP server answers\x1b[2J", Since: now.Add(-3 * time.Hour),
		RTTMS: 1234.56, LossPct: 100,
		UplinkUse: wire.UplinkUse{Share: 100, JitterOutMS: 1.5, JitterInMS: 999.9, RxBPS: 999.9e6, TxBPS: 1e9, Role: "last-resort", LossInPct: 12.5, LineUp: 20e6, LineDown: 100e6,
			Month: &wire.Month{Since: now, Bytes: 999e9, Cap: 1000e9, Cost: 12345.678}},
	}
	got := Uplinks(Seen[wire.Net]{Presence: Live, V: &wire.Net{Uplinks: []wire.Uplink{u}}}, now)
	for line := range strings.Lines(got) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > 80 || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	for _, want := range []string{"twelve-chars noaddress  100%   1234.6    999.9   100%    999.9M      1.0G", "wan1, for 3h00m: no DHCP server answers", "last-resort; carries 100.0M in, 20.0M out; loses 0.0% out, 12.5% in; 999.0GB\n  since 22 Nov of 1.0TB (99%), cost 12345.68"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if got := Uplinks(Seen[wire.Net]{Presence: Missing}, now); !strings.HasPrefix(got, "netd: missing") {
		t.Errorf("without netd: %q", got)
	}
}

func TestWay(t *testing.T) {
	for want, w := range map[string]wire.FlowWay{
		"a to b udp/53: by isp-a (75%) or isp-b (25%)\n": {Proto: "udp", Port: 53, Kind: wire.WayUplink, Uplinks: []wire.UplinkPart{{Name: "isp-a", Percent: 75}, {Name: "isp-b", Percent: 25}}},
		"a to b: stays in the clinic, in devices\n":      {Kind: wire.WayZone, Name: "devices"},
		"a to b icmp: by tunnel hub\n":                   {Proto: "icmp", Kind: wire.WayTunnel, Name: "hub"},
		"a to b: refused\n":                              {Kind: wire.WayRefused},
		"a to b: no way\n":                               {Kind: wire.WayNone},
	} {
		w.Src, w.Dst = "a", "b"
		if got := Way(w); !strings.HasPrefix(got, want) || !strings.Contains(got, "DOES NOT AGREE") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
