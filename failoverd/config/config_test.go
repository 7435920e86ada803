package config

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
)

const sample = `[pair]
[[pair.group]]
name      = "lan"
vrid      = 20
port      = "lan"
addresses = ["10.20.0.1/24"]
priority  = 150
interval  = "50ms"
preempt   = false
peers     = ["10.20.0.3"]
sync      = "clinic"

[[pair.group]]
name      = "svc"
vrid      = 21
port      = "lan"
addresses = ["10.21.0.1/24", "10.21.0.9/24"]
preempt_delay = "30s"
peers     = ["10.21.0.3"]
unicast   = true
mac       = "virtual"
accept    = false
`

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	f, err := site.Parse("site.toml", []byte(text))
	if err != nil {
		return Config{}, err
	}
	return Parse(f)
}

func TestParse(t *testing.T) {
	got, err := parse(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Groups: []Group{
		{Name: "lan", VRID: 20, Port: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24")}, Priority: 150,
			Interval: 50 * time.Millisecond, Sync: "clinic", Peers: []netip.Addr{netip.MustParseAddr("10.20.0.3")}, Accept: true},
		{Name: "svc", VRID: 21, Port: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("10.21.0.1/24"), netip.MustParsePrefix("10.21.0.9/24")},
			Priority: 100, Interval: 50 * time.Millisecond, Preempt: true, Delay: 30 * time.Second, Unicast: true, Virtual: true,
			Peers: []netip.Addr{netip.MustParseAddr("10.21.0.3")}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// The file that people copy from is accepted as it stands.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := parse(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Groups) != 1 || cfg.Groups[0].Name != "lan" || cfg.Groups[0].Interval != 50*time.Millisecond {
		t.Errorf("got %+v", cfg)
	}
}

func TestNoPair(t *testing.T) {
	if cfg, err := parse(t, "[site]\nname = \"x\"\n"); err != nil || len(cfg.Groups) != 0 {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key":      {"vrid      = 20", "vird = 20", "site.toml:4: pair.group.vird: unknown key"},
		"no vrid":          {"vrid      = 20", "", "site.toml:2: pair.group[0].vrid: got 0, want 1 to 255"},
		"vrid 256":         {"vrid      = 20", "vrid = 256", "site.toml:4: pair.group[0].vrid: got 256"},
		"vrid twice":       {"vrid      = 21", "vrid = 20", `site.toml:15: pair.group[1].vrid: got 20, which group "lan" has on port lan already`},
		"name twice":       {`name      = "svc"`, `name = "lan"`, "site.toml:14: pair.group[1].name"},
		"no name":          {`name      = "svc"`, "", "site.toml:13: pair.group[1].name: got \"\""},
		"owner waits":      {"priority  = 150", "priority = 255", "pair.group[0].preempt: got false, but a box of priority 255 owns"},
		"owner, virtual":   {"priority  = 150\ninterval  = \"50ms\"\npreempt   = false", "priority = 255\nmac = \"virtual\"", `site.toml:8: pair.group[0].mac: got "virtual", but a box`},
		"owner, silent":    {"priority  = 150\ninterval  = \"50ms\"\npreempt   = false", "priority = 255\naccept = false", "pair.group[0].accept: got false, but"},
		"silent IPv6":      {`addresses = ["10.21.0.1/24", "10.21.0.9/24"]`, `addresses = ["fe80::1/64"]`, "pair.group[1].peers[0]: got 10.21.0.3"},
		"priority 256":     {"priority  = 150", "priority = 256", "pair.group[0].priority: got 256, want 1 to 255"},
		"priority 0":       {"priority  = 150", "priority = 0", "pair.group[0].priority: got 0, want 1 to 255"},
		"mac":              {`"virtual"`, `"00:00:5e:00:01:14"`, `pair.group[1].mac: got "00:00:5e:00:01:14", want "port" or "virtual"`},
		"unicast to whom":  {`["10.21.0.3"]`, "[]", "pair.group[1].unicast: got true without peers"},
		"interval 0":       {`"50ms"`, `"0s"`, "site.toml:8: pair.group[0].interval: got 0s"},
		"interval 41s":     {`"50ms"`, `"41s"`, "want 10ms to 40.95s in steps of 10ms"},
		"interval 15ms":    {`"50ms"`, `"15ms"`, "in steps of 10ms"},
		"interval text":    {`"50ms"`, `"soon"`, "site.toml:8"},
		"port too long":    {`port      = "lan"`, `port = "enp0s31f6.100"`, "site.toml:5: pair.group[0].port"},
		"port not a name":  {`port      = "lan"`, `port = "../lan"`, "site.toml:5: pair.group[0].port"},
		"no addresses":     {`["10.20.0.1/24"]`, "[]", "site.toml:6: pair.group[0].addresses: got 0"},
		"address twice":    {`"10.21.0.9/24"`, `"10.21.0.1/24"`, "pair.group[1].addresses[1]: got 10.21.0.1 twice"},
		"address of other": {`"10.21.0.9/24"`, `"10.20.0.1/24"`, `which group "lan" announces already`},
		"host prefix":      {"10.20.0.1/24", "10.20.0.1/32", "pair.group[0].addresses[0]: got 10.20.0.1/32"},
		"network itself":   {"10.20.0.1/24", "10.20.0.0/24", "not the network's own"},
		"multicast":        {"10.20.0.1/24", "224.0.0.18/24", "want an address of one machine"},
		"IPv6 mixed":       {`"10.21.0.1/24"`, `"fe80::1/64"`, "pair.group[1].addresses[1]: got 10.21.0.9/24, want all of a group IPv4 or all IPv6"},
		"IPv6 mapped":      {"10.20.0.1/24", "::ffff:10.20.0.1/120", "pair.group[0].addresses[0]: got"},
		"IPv6 not local":   {"10.20.0.1/24", "2001:db8::1/64", "want a link-local address (fe80::/64) before all others"},
		"IPv6 host prefix": {"10.20.0.1/24", "fe80::1/128", "usually /64"},
		"sync not a name":  {`"clinic"`, `"the clinic"`, `pair.group[0].sync: got "the clinic"`},
		"delay unused":     {"preempt   = false", "preempt_delay = \"5s\"\npreempt = false", "but preempt is false"},
		"delay too long":   {`"30s"`, `"2h"`, "pair.group[1].preempt_delay: got 2h0m0s, want 0s to 1h0m0s"},
		"peer of IPv6":     {`["10.20.0.3"]`, `["fe80::3"]`, "pair.group[0].peers[0]: got fe80::3, want an address of the same family"},
		"peer shared":      {`["10.20.0.3"]`, `["10.20.0.1"]`, "got 10.20.0.1, which is shared"},
		"not an address":   {"10.20.0.1/24", "10.20.0/24", "site.toml:6"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sample, c.from, c.to, 1)
			if text == sample {
				t.Fatal("the case changes nothing")
			}
			_, err := parse(t, text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q in it", err, c.want)
			}
		})
	}
}

func TestFlows(t *testing.T) {
	cfg, err := parse(t, "[pair.flows]\nlisten = \"10.77.0.1:7789\"\npeer = \"10.77.0.2:7789\"\n")
	want := &Flows{Port: "ha", Listen: netip.MustParseAddrPort("10.77.0.1:7789"), Peer: netip.MustParseAddrPort("10.77.0.2:7789"), Max: 100_000}
	if err != nil || !reflect.DeepEqual(cfg.Flows, want) {
		t.Errorf("got %+v, %v", cfg.Flows, err)
	}
}

func TestFlowsRefusals(t *testing.T) {
	const good = "[pair.flows]\nport = \"ha\"\nlisten = \"10.77.0.1:7789\"\npeer = \"10.77.0.2:7789\"\nmax = 1000\n"
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key": {"peer", "pear", "site.toml:4: pair.flows.pear: unknown key"},
		"no peer":     {`peer = "10.77.0.2:7789"`, "", `pair.flows.peer: got ""`},
		"itself":      {"10.77.0.2", "10.77.0.1", "site.toml:4: pair.flows.peer: got this box's own address 10.77.0.1"},
		"no port":     {"10.77.0.1:7789", "10.77.0.1", `site.toml:3: pair.flows.listen: got "10.77.0.1"`},
		"any address": {"10.77.0.1:7789", "0.0.0.0:7789", `got "0.0.0.0:7789", want an address`},
		"device":      {`"ha"`, `"../ha"`, "site.toml:2: pair.flows.port"},
		"too few":     {"1000", "9", "site.toml:5: pair.flows.max: got 9, want 100 to 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, strings.Replace(good, c.from, c.to, 1))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q in it", err, c.want)
			}
		})
	}
}
