package firewall

import (
	"slices"
	"strings"
	"testing"

	"clinicgate/netd/config"
)

// What the site file opens to those behind the hub is open to nobody else.
func TestFromTunnel(t *testing.T) {
	c := config.Config{
		Tunnels:  []config.Tunnel{{Name: "hub", Device: "tun-hub"}},
		Firewall: config.Firewall{Tunnel: []config.Service{{Proto: "tcp", Port: 9100}}},
	}
	if got := (book{c: c}).fromTunnel(); !slices.Equal(got, []string{"-i tun-hub -p tcp --dport 9100 -j ACCEPT"}) {
		t.Errorf("got %q", got)
	}
	if got := (book{c: c, six: true}).fromTunnel(); got != nil {
		t.Errorf("IPv6: %q", got)
	}
	all := strings.Join((book{c: c}).input(), "\n")
	if strings.Count(all, "9100") != 1 {
		t.Errorf("opened elsewhere:\n%s", all)
	}
	c.Firewall.Tunnel = nil
	if got := (book{c: c}).fromTunnel(); got != nil {
		t.Errorf("unasked: %q", got)
	}
}
