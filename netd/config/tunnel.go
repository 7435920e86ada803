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

// Tunnel is one WireGuard interface, to one hub at a time.
type Tunnel struct {
	Name      string
	Device    string         // "cg-" + Name
	Address   netip.Prefix   // ours inside the tunnel
	Hubs      []Hub          // in order of preference, at least one
	KeyFile   string         // in the secrets folder
	Routes    []netip.Prefix // reached only through the tunnel
	Keepalive time.Duration  // whole seconds
	Policy    string
	MTU       int // of the device; 0: as the uplinks allow
	Class     int // of Config.Classes: these flows take it before another tunnel with the route; -1: the others do
}

// Hub is a WireGuard peer that a tunnel may lead to.
type Hub struct {
	Endpoint netip.AddrPort // its public one
	PeerKey  [32]byte
	PSKFile  string     // in the secrets folder; empty: no preshared key
	Fan      bool       // netd/fan stands before it
	Probe    netip.Addr // answers pings inside the tunnel; invalid: nobody is asked
}

// What a tunnel's device may carry in one packet: 60 less than its uplinks do.
const (
	MinTunnelMTU = 1216
	MaxTunnelMTU = 1420 // WireGuard over IPv4 or IPv6 in 1500
)

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
	PSK       string        `toml:"psk"`
	MTU       int           `toml:"mtu"`
	Class     string        `toml:"class"`
	Fan       bool          `toml:"fan"`
	Standby   []hubSection  `toml:"standby"`
}

// hubSection is [[net.tunnel.standby]] as written.
type hubSection struct {
	Endpoint string `toml:"endpoint"`
	PeerKey  string `toml:"peer_key"`
	PSK      string `toml:"psk"`
	Probe    string `toml:"probe"`
	Fan      bool   `toml:"fan"`
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
			KeyFile:   r.keyFile(key+".key", t.Key),
			Keepalive: time.Duration(t.Keepalive),
			MTU:       t.MTU,
			Class:     r.tunnelClass(key+".class", t.Class),
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
		if t.MTU != 0 && (t.MTU < MinTunnelMTU || t.MTU > MaxTunnelMTU) {
			r.bad(key+".mtu", "got %d, want %d to %d, or nothing to have it found", t.MTU, MinTunnelMTU, MaxTunnelMTU)
		}
		tun.Hubs = r.hubs(key, t, tun.Routes)
		c.Tunnels = append(c.Tunnels, tun)
	}
}

// tunnelClass reads the class that a tunnel is for. Office is the rest, which a
// tunnel without a class carries.
func (r *reader) tunnelClass(key, got string) int {
	if got == "" {
		return -1
	}
	names := ClassNames()
	k := slices.Index(names[:], got)
	if k < 0 || got == Office {
		r.bad(key, "got %q, want %q or %q, or nothing for all other flows", got, Clinical, Bulk)
	}
	return k
}

// hubs reads the tunnel's own hub and those that stand by.
func (r *reader) hubs(key string, t tunnelSection, routes []netip.Prefix) []Hub {
	if n := len(t.Standby); n >= maxHubs {
		r.bad(key+".standby", "got %d hubs that stand by, want at most %d", n, maxHubs-1)
	}
	all := []Hub{r.hub(key, hubSection{t.Endpoint, t.PeerKey, t.PSK, t.Probe, t.Fan}, routes)}
	for i, s := range t.Standby {
		key := fmt.Sprintf("%s.standby[%d]", key, i)
		s.Probe = cmp.Or(s.Probe, t.Probe)
		h := r.hub(key, s, routes)
		switch {
		case slices.ContainsFunc(all, func(o Hub) bool { return o.PeerKey == h.PeerKey }):
			r.bad(key+".peer_key", "is another hub's too, want the key of this one")
		case slices.ContainsFunc(all, func(o Hub) bool { return o.Endpoint == h.Endpoint }):
			r.bad(key+".endpoint", "%s is another hub's too", h.Endpoint)
		}
		all = append(all, h)
	}
	return all
}

func (r *reader) hub(key string, s hubSection, routes []netip.Prefix) Hub {
	h := Hub{
		Endpoint: r.endpoint(key+".endpoint", s.Endpoint),
		PeerKey:  r.publicKey(key+".peer_key", s.PeerKey),
		Fan:      s.Fan,
		Probe:    r.inside(key+".probe", s.Probe, routes),
	}
	if s.PSK != "" {
		h.PSKFile = r.secret(key+".psk", s.PSK, "the preshared key's file")
	}
	return h
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
	return r.secret(key, got, "our private key's file")
}

// secret reads the name of a file in the secrets folder.
func (r *reader) secret(key, got, what string) string {
	if got == "" || got != filepath.Base(got) || strings.HasPrefix(got, ".") {
		r.bad(key, "got %q, want the name of %s in secrets/netd/", got, what)
	}
	return got
}
