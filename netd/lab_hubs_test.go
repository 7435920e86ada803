package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
)

// TestHubs runs netd with two stock hubs, the second with a preshared key.
func TestHubs(t *testing.T) {
	needs(t)
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	first := w.startHub(bin)
	second := w.secondHub(bin)
	_, pub := wgKey(t, 0x45)
	w.startNetd(bin, func(site string) string {
		return strings.Replace(site, "[net.firewall]", fmt.Sprintf(`[[net.tunnel.standby]]
endpoint = "192.0.2.2:51820"
peer_key = %q
psk      = "second.psk"

[net.firewall]`, pub), 1)
	})
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
	w.echo(w.hub, "10.98.1.10:7000")
	w.echo(second, "10.98.1.10:7000")
	echoes := w.talk(w.pc, "udp4", "10.98.1.10:7000", 20*time.Millisecond)
	echoes.settled(t)
	time.Sleep(time.Second) // for the session with the second to be made

	first.Kill()
	died := time.Now()
	w.await("second hub", func(n *wire.Net) bool {
		return n.Tunnels[0].Endpoint == "192.0.2.2:51820" && n.Tunnels[0].State == wire.TunnelUp
	})
	t.Logf("the second hub serves %v after the first died", time.Since(died).Round(time.Millisecond))
	echoes.alive(t, "by the second hub")
	t.Logf("echoes: longest hole %v", echoes.hole().Round(time.Millisecond))

	w.startHub(bin)
	time.Sleep(2 * time.Second)
	if n := w.await("state", func(*wire.Net) bool { return true }); n.Tunnels[0].Endpoint != "192.0.2.2:51820" {
		t.Errorf("went back to a hub that is up for two seconds")
	}
}

// secondHub is a machine at 192.0.2.2 with the same hosts behind it.
func (w *world) secondHub(bin string) *netns.Space {
	w.t.Helper()
	space, err := netns.New(fmt.Sprintf("netd-%d-hub2", os.Getpid()))
	w.must(err)
	w.t.Cleanup(func() { space.Close() })
	w.must(netns.Veth(w.inet, "hub2", space, "eth0"), w.inet.RouteDev("192.0.2.2/32", "hub2"),
		space.Addr("eth0", "192.0.2.2/24"), space.Route("default", "192.0.2.254"))
	psk := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	w.secret("second.psk", psk)
	p := w.startPeer(bin, farEnd{space: space, name: "hubb", seed: 0x45, port: "51820", psk: psk})
	w.must(space.Addr(p.dev, "10.99.0.1/24"), space.Up(p.dev))
	w.run(space, "ip", "addr", "replace", "10.98.1.10/32", "dev", "lo")
	return space
}
