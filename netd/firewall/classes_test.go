package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/netd/config"
)

// TestClasses shows how flows are told apart: an iptables-restore of a real kernel
// takes these lines in TestAccepted.
func TestClasses(t *testing.T) {
	got := strings.Join(classify(classes(t), "lan"), "\n")
	want := `-i lan -m mark --mark 0x0/0xf000000 -s 10.20.0.60/32 -j MARK --set-xmark 0x1000000/0xf000000
-i lan -m mark --mark 0x0/0xf000000 -d 203.0.113.0/24 -p tcp --dport 443 -j MARK --set-xmark 0x1000000/0xf000000
-i lan -m mark --mark 0x0/0xf000000 -p udp --dport 5000:5100 -m dscp --dscp 8 -j MARK --set-xmark 0x3000000/0xf000000
-i lan -m mark --mark 0x0/0xf000000 -j MARK --set-xmark 0x2000000/0xf000000`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	got = strings.Join(enqueue(classes(t)), "\n")
	want = `-o wan1 -m mark --mark 0x1000000/0xf000000 -j CLASSIFY --set-class 71:10
-o wan1 -m mark --mark 0x3000000/0xf000000 -j CLASSIFY --set-class 71:30`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if rules := classify(example(t), "lan"); len(rules) != 0 {
		t.Errorf("without classes: %q", rules)
	}
}

func classes(t *testing.T) config.Config {
	c := example(t)
	c.Uplinks[0].Up = 20_000_000
	c.Classes = []config.Class{
		{Name: config.Clinical, Match: []config.Match{
			{From: netip.MustParsePrefix("10.20.0.60/32"), DSCP: -1},
			{To: netip.MustParsePrefix("203.0.113.0/24"), Proto: "tcp", First: 443, Last: 443, DSCP: -1},
		}},
		{Name: config.Office, Uplinks: []int{0}},
		{Name: config.Bulk, Match: []config.Match{{Proto: "udp", First: 5000, Last: 5100, DSCP: 8}}},
	}
	return c
}

// TestAccepted puts them into a kernel.
func TestAccepted(t *testing.T) {
	fresh(t)
	if err := Install(t.Context(), classes(t), nil); err != nil {
		t.Error(err)
	}
}
