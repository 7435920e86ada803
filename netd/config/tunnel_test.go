package config

import (
	"strings"
	"testing"
)

const standby = `probe     = "10.99.0.1"  # the hub's
psk       = "hub.psk"
mtu       = 1380
[[net.tunnel.standby]]
endpoint = "192.0.2.2:51820"
peer_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
probe    = "10.99.0.3"
[[net.tunnel.standby]]
endpoint = "192.0.2.3:51820"
peer_key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
#`

// TestHubs: hubs that stand by have keys of their own, and the probe of the first
// where they name none.
func TestHubs(t *testing.T) {
	text := strings.Replace(example(t), `probe     = "10.99.0.1"`, standby, 1)
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	tun := c.Tunnels[0]
	if len(tun.Hubs) != 3 || tun.MTU != 1380 || tun.Hubs[0].PSKFile != "hub.psk" || tun.Hubs[1].PSKFile != "" ||
		tun.Hubs[1].Endpoint.String() != "192.0.2.2:51820" || tun.Hubs[1].Probe.String() != "10.99.0.3" || tun.Hubs[2].Probe.String() != "10.99.0.1" {
		t.Errorf("got %+v", tun)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"key of another":   {"3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=", "net.tunnel[0].standby[1].peer_key: is another hub's too"},
		"place of another": {"192.0.2.3:51820", "192.0.2.1:51820", "net.tunnel[0].standby[1].endpoint: 192.0.2.1:51820 is another hub's too"},
		"inside":           {"192.0.2.3:51820", "10.99.0.9:51820", "net.tunnel[0].standby[1].endpoint: 10.99.0.9 lies in 10.99.0.0/24"},
		"psk with a path":  {`"hub.psk"`, `"../hub.psk"`, `net.tunnel[0].psk: got "../hub.psk", want the name of the preshared key's file`},
		"mtu too small":    {"mtu       = 1380", "mtu = 576", "net.tunnel[0].mtu: got 576, want 1216 to 1420"},
		"probe elsewhere":  {`"10.99.0.3"`, `"10.9.0.3"`, "net.tunnel[0].standby[0].probe: got 10.9.0.3, want an address inside"},
	} {
		bad := strings.Replace(text, c.from, c.to, 1)
		if bad == text {
			t.Fatalf("%s: %q is not in the text", name, c.from)
		}
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "site.toml:") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

const twoTunnels = `[net.class.bulk]
match = [{ service = "tcp/443" }]
[[net.tunnel]]
name     = "bulk"
address  = "10.97.0.2/32"
endpoint = "192.0.2.1:51821"
peer_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
key      = "bulk.key"
routes   = ["10.97.0.0/24", "10.98.0.0/16"]
policy   = "aggregate"
class    = "bulk"

[net.firewall]`

// TestTwoTunnels: one network may lie behind two tunnels when the class of a flow
// decides between them.
func TestTwoTunnels(t *testing.T) {
	text := strings.Replace(example(t), "[net.firewall]", twoTunnels, 1)
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.Tunnels[0].Class != -1 || c.Tunnels[1].Class != 2 {
		t.Errorf("classes %d and %d, want -1 and 2", c.Tunnels[0].Class, c.Tunnels[1].Class)
	}
	for _, c := range []struct{ from, to, want string }{
		{`class    = "bulk"`, ``, "net.tunnel[1].routes: 10.98.0.0/16 overlaps 10.98.0.0/16 of net.tunnel[0].routes"},
		{`"10.97.0.2/32"`, `"10.99.0.7/32"`, "net.tunnel[1].address: 10.99.0.7/32 overlaps 10.99.0.0/24 of net.tunnel[0].routes"},
		{`class    = "bulk"`, `class = "office"`, `net.tunnel[1].class: got "office", want "clinical" or "bulk"`},
	} {
		if _, err := parse(strings.Replace(text, c.from, c.to, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: got %v, want %q", c.to, c.from, err, c.want)
		}
	}
}
