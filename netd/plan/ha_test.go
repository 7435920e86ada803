package plan

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/netd/config"
)

// The cable to the other box gets its address and no route but its own network's.
func TestHA(t *testing.T) {
	c := example(t)
	ups := make([]Uplink, len(c.Uplinks))
	before := Make(c, ups, -1).String()
	c.HA = &config.HA{Port: "ha", Address: netip.MustParsePrefix("10.77.0.1/24"), Peer: netip.MustParseAddr("10.77.0.2")}
	got := Make(c, ups, -1).String()
	for _, want := range []string{"link ha up\n", "addr 10.77.0.1/24 dev ha\n"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("want %q in\n%s", want, got)
		}
		got = strings.Replace(got, want, "", 1)
	}
	if got != before {
		t.Errorf("got besides:\n%s\nwant\n%s", got, before)
	}
}
