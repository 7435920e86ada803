package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"clinicgate/netd/config"
)

// Only the other box is answered on the cable between the two, and nothing that
// comes by it passes through.
func TestHA(t *testing.T) {
	c := example(t)
	without := rules(c, false).chains()
	c.HA = &config.HA{
		Port: "ha", Address: netip.MustParsePrefix("10.77.0.1/24"), Peer: netip.MustParseAddr("10.77.0.2"),
		Services: []config.Service{{Proto: "icmp"}, {Proto: "tcp", Port: 7789}},
	}
	for i, chain := range rules(c, false).chains() {
		var more []string
		for _, r := range chain.rules {
			if !slices.Contains(without[i].rules, r) {
				more = append(more, r)
			}
		}
		want := ""
		if chain.hook == "INPUT" {
			want = "-s 10.77.0.2/32 -d 10.77.0.1/32 -i ha -p icmp --icmp-type echo-request -j ACCEPT\n" +
				"-s 10.77.0.2/32 -d 10.77.0.1/32 -i ha -p tcp --dport 7789 -j ACCEPT"
		}
		if chain.table == "raw" {
			want = "-s 10.77.0.0/24 -i wan1 -j DROP\n-s 10.77.0.0/24 -i wan2 -j DROP"
		}
		if got := strings.Join(more, "\n"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", chain.key(), got, want)
		}
	}
}

// The clinic leaves behind the pair's address, what the box itself sends does not.
func TestPairedAddress(t *testing.T) {
	c, _ := zones(t)
	without, six := rules(c, false).masquerade(), rules(c, true).masquerade()
	c.Uplinks[1].Paired = config.Paired{Group: "isp-b", Address: netip.MustParseAddr("198.51.100.10")}
	got := rules(c, false).masquerade()
	for _, r := range without {
		got = slices.DeleteFunc(got, func(g string) bool { return g == r })
	}
	want := "-s 10.20.0.0/24 -o wan2 -j SNAT --to-source 198.51.100.10\n-s 10.20.40.0/24 -o wan2 -j SNAT --to-source 198.51.100.10"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	all := rules(c, false).masquerade()
	if slices.Index(all, got[1]) > slices.Index(all, "-o wan2 -j MASQUERADE") {
		t.Errorf("masqueraded first: %q", all)
	}
	if now := rules(c, true).masquerade(); !slices.Equal(now, six) {
		t.Errorf("IPv6: got %q, want %q", now, six)
	}
}
