package config

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/site"
)

// Policies by which a tunnel uses the uplinks.
const (
	Best      = "best"      // the preferred one
	Redundant = "redundant" // a copy of each datagram by every usable one
	Aggregate = "aggregate" // each datagram by one of those that cost nothing, as they can take it
)

// Tunnel is one WireGuard peer, the hub.
type Tunnel struct {
	Name      string
	Device    string         // "cg-" + Name
	Address   netip.Prefix   // ours inside the tunnel
	Endpoint  netip.AddrPort // the hub's public one
	PeerKey   [32]byte
	KeyFile   string         // in the secrets folder
	Routes    []netip.Prefix // reached only through the tunnel
	Keepalive time.Duration  // whole seconds
	Policy    string
	Probe     netip.Addr // answers pings inside the tunnel; invalid: nobody is asked
}

// tunnelSection is [[net.tunnel]] as written.
type tunnelSection struct {
	Name      string        `toml:"name"`
	Address   string        `toml:"address"`
	Endpoint  string        `toml:"endpoint"`
	PeerKey   string        `toml:"peer_key"`
	Key       string        `toml:"key"`
	Routes    []string      `toml:"routes"`
	Keepalive site.Duration `toml:"keepalive"`
	Policy    string        `toml:"policy"`
	Probe     string        `toml:"probe"`
}

func (r *reader) tunnels(s *section, c *Config) {
	if n := len(s.Tunnel); n > maxTunnels {
		r.bad("net.tunnel", "got %d tunnels, want at most %d", n, maxTunnels)
	}
	names := map[string]string{}
	for i, t := range s.Tunnel {
		key := fmt.Sprintf("net.tunnel[%d]", i)
		tun := Tunnel{
			Name:      r.name(key+".name", t.Name, names),
			Device:    "cg-" + t.Name,
			Address:   r.host(key+".address", t.Address),
			Endpoint:  r.endpoint(key+".endpoint", t.Endpoint),
			PeerKey:   r.publicKey(key+".peer_key", t.PeerKey),
			KeyFile:   r.keyFile(key+".key", t.Key),
			Keepalive: time.Duration(t.Keepalive),
		}
		if len(t.Routes) == 0 {
			r.bad(key+".routes", "got none, want the networks behind the hub")
		}
		for _, text := range t.Routes {
			tun.Routes = append(tun.Routes, r.network(key+".routes", text))
		}
		if tun.Keepalive < 0 || tun.Keepalive > time.Hour || tun.Keepalive%time.Second != 0 {
			r.bad(key+".keepalive", "got %v, want whole seconds up to 1h", tun.Keepalive)
		}
		tun.Policy = cmp.Or(t.Policy, Best)
		if !slices.Contains([]string{Best, Redundant, Aggregate}, tun.Policy) {
			r.bad(key+".policy", "got %q, want \"best\", \"redundant\" or \"aggregate\"", t.Policy)
		}
		tun.Probe = r.inside(key+".probe", t.Probe, tun.Routes)
		c.Tunnels = append(c.Tunnels, tun)
	}
}

// inside reads the address, if any, of a host behind a tunnel.
func (r *reader) inside(key, got string, routes []netip.Prefix) netip.Addr {
	if got == "" {
		return netip.Addr{}
	}
	a := r.addr(key, got)
	if a.IsValid() && !slices.ContainsFunc(routes, func(p netip.Prefix) bool { return p.IsValid() && p.Contains(a) }) {
		r.bad(key, "got %s, want an address inside one of the tunnel's routes", a)
	}
	return a
}

func (r *reader) endpoint(key, got string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(got)
	if err != nil || !ap.Addr().Is4() || !usable(ap.Addr()) || ap.Port() == 0 {
		r.bad(key, "got %q, want IPv4 address and port of the hub, such as \"192.0.2.1:51820\"", got)
	}
	return ap
}

func (r *reader) publicKey(key, got string) (k [32]byte) {
	raw, err := base64.StdEncoding.DecodeString(got)
	if err != nil || len(raw) != len(k) || [32]byte(raw) == k {
		r.bad(key, "got %q, want the hub's WireGuard public key, 44 characters of base64", got)
		return k
	}
	return [32]byte(raw)
}

func (r *reader) keyFile(key, got string) string {
	if got == "" || got != filepath.Base(got) || strings.HasPrefix(got, ".") {
		r.bad(key, "got %q, want the name of our private key's file in secrets/netd/", got)
	}
	return got
}
