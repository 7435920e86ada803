package plan

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// sixClinic has two providers with a prefix each, and a zone of every kind.
func sixClinic(t *testing.T) (config.Config, []Uplink) {
	t.Helper()
	c := example(t)
	c.Six.Local = prefix("fd5a:1c3e:9b20::/48")
	c.Uplinks[0].Six.Method, c.Uplinks[1].Six.Method = config.SixAuto, config.SixAuto
	c.Zones = append(c.Zones,
		config.Zone{Name: "devices", Kind: config.KindDevices, Port: "lan.30", Tag: config.Tag{Parent: "lan", VLAN: 30}, Address: prefix("10.20.30.2/24"), Subnet: 1},
		config.Zone{Name: "guests", Kind: config.KindGuests, Port: "lan.40", Tag: config.Tag{Parent: "lan", VLAN: 40}, Address: prefix("10.20.40.2/24"), Subnet: 2})
	ups := []Uplink{
		{State: wire.UplinkUp, Address: prefix("100.64.1.100/24"), Gateway: netip.MustParseAddr("100.64.1.1"), Six: Six{
			Addresses: []netip.Prefix{prefix("2001:db8:a::64/64")}, Gateway: netip.MustParseAddr("fe80::a"), Prefix: prefix("2001:db8:a00::/56"), Usable: true}},
		{State: wire.UplinkUp, Address: prefix("198.51.100.2/24"), Gateway: netip.MustParseAddr("198.51.100.1"), Six: Six{
			Addresses: []netip.Prefix{prefix("2001:db8:b::2/64")}, Gateway: netip.MustParseAddr("fe80::b"), Prefix: prefix("2001:db8:b00::/64"), Usable: true}},
	}
	return c, ups
}

func lines(k Kernel) string { return "\n" + k.String() }

func has(t *testing.T, k Kernel, want bool, all ...string) {
	t.Helper()
	for _, line := range all {
		if strings.Contains(lines(k), "\n"+line+"\n") != want {
			t.Errorf("%q: want %v in:%s", line, want, lines(k))
		}
	}
}

func TestSix(t *testing.T) {
	c, ups := sixClinic(t)
	k := Make(c, ups, 0)
	has(t, k, true,
		"link lan up", "link lan.30 up vlan 30 of lan",
		"addr fd5a:1c3e:9b20::a14:2/64 dev lan",
		"addr fd5a:1c3e:9b20:1::a14:1e02/64 dev lan.30",
		"addr 2001:db8:a00::a14:2/64 dev lan",
		"addr 2001:db8:a00:2::a14:2802/64 dev lan.40",
		"addr 2001:db8:b00::a14:2/64 dev lan",
		"rule -6 7000 from all lookup 254 suppress_prefixlength 0",
		"rule -6 7100 from all fwmark 0x10000/0xff0000 lookup 7100",
		"rule -6 7201 from 2001:db8:b::2 lookup 7101",
		"rule -6 7400 from 2001:db8:a00::/56 lookup 7100",
		"route -6 default via fe80::a dev wan1 table 254 metric 71 onlink",
		"route -6 default via fe80::b dev wan2 table 7101 metric 71 onlink",
		"route -6 2001:db8:a::/64 dev wan1 table 7100 metric 71",
		"route -6 unreachable 2001:db8:a00::/56 table 254 metric 4000000000",
		"route -6 unreachable fd5a:1c3e:9b20::/48 table 254 metric 4000000000")
	if strings.Count(lines(k), "\nlink lan ") != 1 {
		t.Errorf("the trunk is listed more than once:%s", lines(k))
	}
	if strings.Contains(lines(k), "addr 2001:db8:a00:1::") || strings.Contains(lines(k), "addr 2001:db8:b00:") && strings.Contains(lines(k), "2001:db8:b00:2") {
		t.Errorf("devices have an address of the internet, or a /64 was split:%s", lines(k))
	}
}

// TestSixFailover: an uplink that is not usable keeps its addresses, but neither
// its prefix nor anything else goes by it.
func TestSixFailover(t *testing.T) {
	c, ups := sixClinic(t)
	ups[0].State, ups[0].Six.Usable = wire.UplinkDown, false
	k := Make(c, ups, 1)
	has(t, k, true, "route -6 default via fe80::b dev wan2 table 254 metric 71 onlink",
		"rule -6 7401 from 2001:db8:b00::/64 lookup 7101", "addr 2001:db8:a00::a14:2/64 dev lan")
	has(t, k, false, "rule -6 7400 from 2001:db8:a00::/56 lookup 7100")
}

func TestActive6(t *testing.T) {
	gw := netip.MustParseAddr("fe80::1")
	yes, no, none := Uplink{Six: Six{Gateway: gw, Usable: true}}, Uplink{Six: Six{Gateway: gw}}, Uplink{}
	for _, c := range []struct {
		ups          []Uplink
		active, want int
	}{
		{[]Uplink{yes, yes}, 1, 1}, {[]Uplink{yes, no}, 1, 0}, {[]Uplink{none, yes}, 0, 1},
		{[]Uplink{no, none}, 1, 0}, {[]Uplink{none, none}, 0, -1}, {[]Uplink{none, yes}, -1, 1},
	} {
		if got := Active6(c.ups, c.active); got != c.want {
			t.Errorf("%+v, IPv4 by %d: got %d, want %d", c.ups, c.active, got, c.want)
		}
	}
}

func TestSubnet(t *testing.T) {
	staff := func(n int) config.Zone { return config.Zone{Kind: config.KindStaff, Subnet: n} }
	for _, c := range []struct {
		zone config.Zone
		in   string
		want string
	}{
		{staff(0), "2001:db8:1::/48", "2001:db8:1::/64"},
		{staff(5), "2001:db8:1:f0::/60", "2001:db8:1:f5::/64"},
		{staff(4), "2001:db8:1:4::/62", "invalid Prefix"},
		{staff(1), "2001:db8:1::/64", "invalid Prefix"},
		{staff(3), "2001:db8::/32", "2001:db8:0:3::/64"},
		{config.Zone{Kind: config.KindDevices, Subnet: 1}, "2001:db8:1::/48", "invalid Prefix"},
		{config.Zone{Kind: config.KindDevices, Subnet: 1}, "fd00:1:2::/48", "fd00:1:2:1::/64"},
	} {
		if got := Subnet(c.zone, prefix(c.in)).String(); got != c.want {
			t.Errorf("zone %d of %s: got %s, want %s", c.zone.Subnet, c.in, got, c.want)
		}
	}
}
