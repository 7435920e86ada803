package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const haText = `
[net.ha]
port    = "ha"
address = "10.77.0.1/24"
peer    = "10.77.0.2"
`

func TestHA(t *testing.T) {
	if c, err := parse(example(t)); err != nil || c.HA != nil || !c.Pair {
		t.Fatalf("the example: got %+v, pair %v, %v; want no cable, a pair", c.HA, c.Pair, err)
	}
	c, err := parse(example(t) + haText)
	if err != nil {
		t.Fatal(err)
	}
	want := &HA{
		Port: "ha", Address: netip.MustParsePrefix("10.77.0.1/24"), Peer: netip.MustParseAddr("10.77.0.2"),
		Services: []Service{{Proto: "icmp"}, {"tcp", 7789}, {"udp", 7789}, {"tcp", 7790}},
	}
	if !reflect.DeepEqual(c.HA, want) {
		t.Errorf("got %+v, want %+v", c.HA, want)
	}
	if c.Clash(netip.MustParsePrefix("10.77.0.0/16")) == nil {
		t.Error("a provider may have the network of the cable between the boxes")
	}
}

func TestHARefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"LAN port":        {`"ha"`, `"lan"`, `net.ha.port: port "lan" is already used by net.lan.port (site.toml:`},
		"uplink's port":   {`"ha"`, `"wan2"`, `net.ha.port: port "wan2" is already used by net.uplink[1].port`},
		"no port":         {`"ha"`, `""`, `net.ha.port: got ""`},
		"LAN's network":   {`"10.77.0.1/24"`, `"10.20.0.77/25"`, "net.ha.address: 10.20.0.0/25 overlaps 10.20.0.0/24 of net.lan.address"},
		"tunnel's":        {`"10.77.0.1/24"`, `"10.99.0.77/25"`, "overlaps 10.99.0.0/25 of net.ha.address"},
		"peer elsewhere":  {`"10.77.0.2"`, `"10.78.0.2"`, "net.ha.peer: got 10.78.0.2, want the other box's address inside 10.77.0.0/24"},
		"peer itself":     {`"10.77.0.2"`, `"10.77.0.1"`, "net.ha.peer: got 10.77.0.1, want"},
		"no peer":         {`"10.77.0.2"`, `""`, "net.ha.peer: got \"\""},
		"unknown service": {`peer    =`, "services = [\"gopher\"]\npeer =", `net.ha.services: got "gopher"`},
		"unknown key":     {`peer    =`, `pear =`, "net.ha.pear: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(example(t) + strings.Replace(haText, c.from, c.to, 1))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q in it", err, c.want)
			}
		})
	}
}
