package apply

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"
)

func listing6(t *testing.T) string {
	t.Helper()
	all := ip(t, "-6", "-o", "addr", "show", "scope", "global") + ip(t, "-6", "rule") + ip(t, "-6", "route", "show", "table", "all")
	var ours strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(all, " tentative", "")) { // passes by itself
		// The kernel's own for a port, which it adds when the port is up.
		if !strings.Contains(line, "table local") && !strings.HasPrefix(line, "fe80::/64") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

func sixPlan(t *testing.T, usable bool) plan.Kernel {
	t.Helper()
	c := example(t)
	c.Six.Local = netip.MustParsePrefix("fd5a:1c3e:9b20::/48")
	a, b := up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")
	a.Six = plan.Six{Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::64/64")}, Gateway: netip.MustParseAddr("fe80::a"),
		Prefix: netip.MustParsePrefix("2001:db8:a00::/56"), Usable: usable}
	b.Six = plan.Six{Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:b::2/64")}, Gateway: netip.MustParseAddr("2001:db8:b::1"), Usable: true}
	return plan.Make(c, []plan.Uplink{a, b}, 0)
}

func TestSixTwice(t *testing.T) {
	fresh(t)
	want := sixPlan(t, true)
	if res := apply(t, want); len(res.Changes) < 25 || len(res.Missing) > 0 {
		t.Errorf("first time: %+v", res)
	}
	before := listing6(t)
	if res := apply(t, want); len(res.Changes) > 0 {
		t.Errorf("second time changed %q", res.Changes)
	}
	if after := listing6(t); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
	for _, line := range []string{
		"default via fe80::a dev wan1 proto 71 metric 71",
		"default via 2001:db8:b::1 dev wan2 table 7101 proto 71 metric 71",
		"unreachable 2001:db8:a00::/56 dev lo proto 71 metric 4000000000",
		"7000:\tfrom all lookup main suppress_prefixlength 0 proto 71",
		"7400:\tfrom 2001:db8:a00::/56 lookup 7100 proto 71",
		"inet6 fd5a:1c3e:9b20::a14:2/64",
		"inet6 2001:db8:a::64/64",
	} {
		if !strings.Contains(before, line) {
			t.Errorf("%q is not in:\n%s", line, before)
		}
	}
	if strings.Contains(before, "2001:db8:a::/64 dev wan1 proto kernel") {
		t.Errorf("the provider's network is in main:\n%s", before)
	}
}

// TestSixFailover: what moves is the default route and the rule, nothing else.
func TestSixFailover(t *testing.T) {
	fresh(t)
	apply(t, sixPlan(t, true))
	before := listing6(t)
	res := apply(t, sixPlan(t, false))
	want := []string{
		"replace route -6 default via 2001:db8:b::1 dev wan2 table 254 metric 71 onlink",
		"del rule -6 7400 from 2001:db8:a00::/56 lookup 7100",
	}
	if !slices.Equal(res.Changes, want) {
		t.Errorf("got %q, want %q", res.Changes, want)
	}
	apply(t, sixPlan(t, true))
	if after := listing6(t); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
}

// TestSixForeignStays: others' IPv6 survives all of ours coming and going.
func TestSixForeignStays(t *testing.T) {
	fresh(t)
	ip(t, "link", "set", "lan", "up")
	ip(t, "addr", "add", "fd00:77::1/64", "dev", "lan", "nodad")
	ip(t, "-6", "route", "add", "2001:db8:ffff::/48", "dev", "lan", "proto", "static")
	ip(t, "-6", "route", "add", "default", "dev", "lan", "metric", "9", "table", "7100")
	ip(t, "-6", "rule", "add", "from", "2001:db8:9::9", "lookup", "7100", "priority", "7400")
	before := listing6(t)
	apply(t, sixPlan(t, true))
	apply(t, plan.Kernel{})
	for _, line := range []string{"fd00:77::1/64", "2001:db8:ffff::/48 dev lan proto static", "default dev lan table 7100", "from 2001:db8:9::9 lookup 7100"} {
		if got := listing6(t); !strings.Contains(got, line) {
			t.Errorf("%q is gone:\n%s\nbefore:\n%s", line, got, before)
		}
	}
	if got := listing6(t); strings.Contains(got, "proto 71") || strings.Contains(got, "2001:db8:a") {
		t.Errorf("ours is still there:\n%s", got)
	}
}

// TestTagOfMissingPort: a tagged device waits for its port without a complaint.
func TestTagOfMissingPort(t *testing.T) {
	fresh(t)
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	res, err := k.Apply(plan.Kernel{Links: []plan.Link{{Dev: "wan9"}, {Dev: "wan9.100", Tag: config.Tag{Parent: "wan9", VLAN: 100}}}})
	if err != nil || !slices.Equal(res.Missing, []string{"wan9", "wan9.100"}) {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestTagNameTaken: a device of the name that is something else is left alone.
func TestTagNameTaken(t *testing.T) {
	fresh(t)
	ip(t, "link", "add", "wan1.100", "type", "veth", "peer", "name", "other")
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	_, err = k.Apply(plan.Kernel{Links: []plan.Link{{Dev: "wan1"}, {Dev: "wan1.100", Tag: config.Tag{Parent: "wan1", VLAN: 100}}}})
	if err == nil || !strings.Contains(err.Error(), "someone else has made a device of that name, which is not VLAN 100 of wan1") {
		t.Errorf("got %v", err)
	}
	if got := ip(t, "link", "show", "wan1.100"); strings.Contains(got, "state UP") {
		t.Errorf("it was brought up: %s", got)
	}
}
