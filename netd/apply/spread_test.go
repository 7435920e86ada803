package apply

import (
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/plan"
)

// TestSpread: a route of several hops and the classes' tables are there, are right at
// the second look, follow an uplink that dies in place, and go when no longer wanted.
func TestSpread(t *testing.T) {
	fresh(t)
	c := example(t)
	before := listing(t)
	c.Uplinks[0].Role, c.Uplinks[0].Weight, c.Uplinks[1].Role = config.Shared, 3, config.Shared
	c.Classes = []config.Class{{Name: config.Clinical, Uplinks: []int{1, 0}}, {Name: config.Office}, {Name: config.Bulk, Uplinks: []int{1}, Strict: true}}
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	apply(t, plan.Make(c, ups, 0))
	both := listing(t)
	expect := func(in string, lines ...string) {
		t.Helper()
		in = strings.Join(strings.Fields(in), " ")
		for _, line := range lines {
			if !strings.Contains(in, line) {
				t.Errorf("%q is not in:\n%s", line, in)
			}
		}
	}
	expect(both, "default proto 71 metric 71 nexthop via 100.64.1.1 dev wan1 weight 3 onlink nexthop via 198.51.100.1 dev wan2 weight 1 onlink",
		"7300: from all fwmark 0x1000000/0xf000000 lookup 7300 proto 71", "7302: from all fwmark 0x3000000/0xf000000 lookup 7302 proto 71",
		"default via 198.51.100.1 dev wan2 table 7300 proto 71 src 198.51.100.2 onlink")
	if res := apply(t, plan.Make(c, ups, 0)); len(res.Changes) > 0 {
		t.Errorf("second time changed %q", res.Changes)
	}
	ups[1].State = wire.UplinkDown
	res := apply(t, plan.Make(c, ups, 0))
	if slices.ContainsFunc(res.Changes, func(s string) bool { return strings.Contains(s, "metric 71") && !strings.HasPrefix(s, "replace") }) {
		t.Errorf("the default route was not replaced in place: %q", res.Changes)
	}
	expect(listing(t), "default via 100.64.1.1 dev wan1 proto 71 src 100.64.1.100 metric 71 onlink",
		"default via 100.64.1.1 dev wan1 table 7300", "unreachable default table 7302 proto 71")
	ups[1].State = wire.UplinkUp
	apply(t, plan.Make(c, ups, 0))
	if after := listing(t); after != both {
		t.Errorf("got:\n%s\nwant:\n%s", after, both)
	}
	apply(t, plan.Kernel{})
	if after := listing(t); strings.Contains(after, "proto 71") {
		t.Errorf("something stays:\n%s\nbefore:\n%s", after, before)
	}
}
