package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/site"
)

// Addresses is what the box gives the devices of one zone by DHCP.
type Addresses struct {
	Zone         string
	Port         string
	Own          netip.Prefix // the box's in the zone
	Gateway      netip.Addr   // by which devices know the box
	First, Last  netip.Addr   // the pool, both included
	Half         string       // of the pool, that this box of a pair gives out; empty: all
	Lease        time.Duration
	Reservations []Reservation // by address
}

// Halves of a pool.
const (
	Lower = "lower"
	Upper = "upper"
)

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Reservation is an address that one device has, always, and a name for it.
type Reservation struct {
	MAC     MAC
	Address netip.Addr
	Name    string // a label below the clinic's domain
}

// Mine is the part of the pool from which this box gives new addresses. The other
// box of a pair gives the other half, so two boxes that have never heard of each
// other's leases can't give one address twice.
func (d Addresses) Mine() (first, last netip.Addr) {
	middle := toNumber(d.First) + (toNumber(d.Last)-toNumber(d.First))/2
	switch d.Half {
	case Lower:
		return d.First, fromNumber(middle)
	case Upper:
		return fromNumber(middle + 1), d.Last
	}
	return d.First, d.Last
}

// DNS is the clinic's resolver.
type DNS struct {
	Domain   string         // of the clinic's own names, without dots at its ends
	Upstream []netip.Addr   // asked before those that the providers name
	MaxStale time.Duration  // how long after its time an answer may still serve
	Private  []string       // domains whose names may have private addresses
	Zones    []ResolverZone // domains that are asked elsewhere
}

// ResolverZone is a domain with name servers of its own, such as the hospital's
// behind the tunnel. Its names may have private addresses.
type ResolverZone struct {
	Name    string
	Servers []netip.Addr
}

// NTP is where the box gets its time, to pass it on.
type NTP struct {
	Servers []string // addresses or names
}

// GatewayName is the box's name in every clinic.
const GatewayName = "gateway.internal"

// Gateway is the address by which the zone's devices know the box: the pair's, or
// its own when it has no other beside it.
func (z Zone) Gateway() netip.Addr {
	if z.Shared.IsValid() {
		return z.Shared
	}
	return z.Address.Addr()
}

type dhcpSection struct {
	Pool  string        `toml:"pool"`
	Half  string        `toml:"half"`
	Lease site.Duration `toml:"lease"`
	Zone  []struct {
		Zone  string        `toml:"zone"`
		Pool  string        `toml:"pool"`
		Lease site.Duration `toml:"lease"`
	} `toml:"zone"`
	Reservation []struct {
		MAC     string `toml:"mac"`
		Address string `toml:"address"`
		Name    string `toml:"name"`
	} `toml:"reservation"`
}

type dnsSection struct {
	Domain   string         `toml:"domain"`
	Upstream []string       `toml:"upstream"`
	MaxStale *site.Duration `toml:"max_stale"`
	Private  []string       `toml:"private"`
	Zone     []struct {
		Name    string   `toml:"name"`
		Servers []string `toml:"servers"`
	} `toml:"zone"`
}

type ntpSection struct {
	Servers []string `toml:"servers"`
}

// Bounds of what one box serves, and what holds when a key is left out.
const (
	maxPool         = 1000
	maxReservations = 1000
	maxServers      = 4
	maxDomains      = 16
	minLease        = 5 * time.Minute
	maxLease        = 7 * 24 * time.Hour
	defaultLease    = 12 * time.Hour
	defaultDomain   = "clinic.internal"
	defaultStale    = 7 * 24 * time.Hour
	maxStale        = 30 * 24 * time.Hour
)

// offers reads the sections of what the box offers the zones. Those that are
// absent are not offered.
func (r *reader) offers(s *section, c *Config) {
	for i := range c.Zones {
		c.Zones[i].Shared = r.shared(c.Zones[i])
	}
	if s.DHCP != nil {
		c.DHCP = r.dhcp(s.DHCP, c.Zones)
	}
	if s.DNS != nil {
		c.DNS = r.dns(s.DNS, c.Zones)
	}
	if s.NTP != nil {
		c.NTP = r.ntp(s.NTP, c.DNS != nil)
	}
}

// shared is the first address in the zone that failoverd's section gives the pair.
// What is wrong with that section is failoverd's to say.
func (r *reader) shared(z Zone) netip.Addr {
	var pair map[string]any
	if !r.f.Has("pair") || r.f.Decode("pair", &pair) != nil {
		return netip.Addr{}
	}
	groups, _ := pair["group"].([]any)
	for _, g := range groups {
		group, _ := g.(map[string]any)
		addresses, _ := group["addresses"].([]any)
		for _, a := range addresses {
			text, _ := a.(string)
			p, err := netip.ParsePrefix(text)
			if err == nil && group["port"] == z.Port && z.Address.IsValid() && z.Address.Contains(p.Addr()) {
				return p.Addr()
			}
		}
	}
	return netip.Addr{}
}

// dhcp reads what the LAN's devices get, and those of other zones.
func (r *reader) dhcp(s *dhcpSection, zones []Zone) []Addresses {
	if !slices.Contains([]string{"", Lower, Upper}, s.Half) {
		r.bad("net.dhcp.half", "got %q, want \"lower\", \"upper\" or none", s.Half)
	}
	lease := cmp.Or(time.Duration(s.Lease), defaultLease)
	all := []Addresses{r.addresses("net.dhcp", zones[0], s.Pool, lease)}
	taken := map[string]string{zones[0].Name: r.f.At("net.dhcp")}
	for i, z := range s.Zone {
		key := fmt.Sprintf("net.dhcp.zone[%d]", i)
		at := slices.IndexFunc(zones, func(o Zone) bool { return o.Name == z.Zone })
		if at < 0 {
			r.bad(key+".zone", "got %q, want the name of a net.zone", z.Zone)
			continue
		}
		r.once(key+".zone", z.Zone, taken)
		all = append(all, r.addresses(key, zones[at], z.Pool, cmp.Or(time.Duration(z.Lease), lease)))
	}
	for i := range all {
		all[i].Half = s.Half
	}
	r.reservations(s, zones, all)
	return all
}

func (r *reader) addresses(key string, z Zone, pool string, lease time.Duration) Addresses {
	d := Addresses{Zone: z.Name, Port: z.Port, Own: z.Address, Gateway: z.Gateway(), Lease: lease}
	if lease < minLease || lease > maxLease || lease%time.Second != 0 {
		r.bad(key+".lease", "got %v, want whole seconds, %v to %v", lease, minLease, maxLease)
	}
	r.pool(key+".pool", pool, z, &d)
	return d
}

// reservations reads the list; the address says to which zone each belongs.
func (r *reader) reservations(s *dhcpSection, zones []Zone, all []Addresses) {
	if len(s.Reservation) > maxReservations {
		r.bad("net.dhcp.reservation", "got %d, want at most %d", len(s.Reservation), maxReservations)
		return
	}
	taken := map[string]string{}
	for i, raw := range s.Reservation {
		key := fmt.Sprintf("net.dhcp.reservation[%d]", i)
		res := Reservation{MAC: r.mac(key+".mac", raw.MAC), Address: r.addr(key+".address", raw.Address), Name: raw.Name}
		if !labelForm.MatchString(raw.Name) || raw.Name == "gateway" {
			r.bad(key+".name", "got %q, want 1 to 63 of a-z, 0-9 and -, and not \"gateway\"", raw.Name)
		}
		r.once(key+".mac", res.MAC.String(), taken)
		r.once(key+".address", res.Address.String(), taken)
		r.once(key+".name", res.Name, taken)
		at := slices.IndexFunc(all, func(d Addresses) bool { return d.Own.IsValid() && d.Own.Contains(res.Address) })
		if at < 0 {
			r.bad(key+".address", "got %s, want an address in a network that has a pool, such as %s of %s", raw.Address, all[0].Own.Masked(), r.f.At("net.dhcp"))
			continue
		}
		z := slices.IndexFunc(zones, func(z Zone) bool { return z.Name == all[at].Zone })
		r.hostIn(key+".address", res.Address, zones[z])
		all[at].Reservations = append(all[at].Reservations, res)
	}
	for _, d := range all {
		slices.SortFunc(d.Reservations, func(a, b Reservation) int { return a.Address.Compare(b.Address) })
	}
}

// once refuses a second use of what can be had once.
func (r *reader) once(key, got string, taken map[string]string) {
	if at, twice := taken[got]; twice {
		r.bad(key, "%s is already taken at %s", got, at)
		return
	}
	taken[got] = r.f.At(key)
}

// labelForm is one label of a host's name (RFC 1123 §2.1), in small letters.
var labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// pool reads "10.20.0.100-10.20.0.199".
func (r *reader) pool(key, got string, z Zone, d *Addresses) {
	from, to, found := strings.Cut(got, "-")
	if !found {
		r.bad(key, "got %q, want first and last address, such as \"10.20.0.100-10.20.0.199\"", got)
		return
	}
	d.First, d.Last = r.addr(key, strings.TrimSpace(from)), r.addr(key, strings.TrimSpace(to))
	if !d.First.IsValid() || !d.Last.IsValid() || !r.hostIn(key, d.First, z) || !r.hostIn(key, d.Last, z) {
		return
	}
	if n := int64(toNumber(d.Last)) - int64(toNumber(d.First)) + 1; n < 2 || n > maxPool {
		r.bad(key, "got %d addresses, want 2 to %d", max(n, 0), maxPool)
		return
	}
	for _, own := range []netip.Addr{z.Address.Addr(), z.Shared} {
		if own.IsValid() && own.Compare(d.First) >= 0 && own.Compare(d.Last) <= 0 {
			r.bad(key, "%s is the box's own address, want a pool without it", own)
		}
	}
}

// hostIn refuses an address that no device of the zone can have.
func (r *reader) hostIn(key string, a netip.Addr, z Zone) bool {
	p := z.Address
	switch {
	case !a.IsValid() || !p.IsValid():
		return false // said already
	case !p.Contains(a) || p.Bits() < 31 && (a == p.Masked().Addr() || a == last(p)):
		r.bad(key, "got %s, want an address of a host in %s of zone %s", a, p.Masked(), z.Name)
	case !strings.HasSuffix(key, ".pool") && (a == p.Addr() || a == z.Shared):
		r.bad(key, "got %s, which is the box's own", a)
	default:
		return true
	}
	return false
}

func (r *reader) mac(key, got string) (m MAC) {
	hw, err := net.ParseMAC(got)
	if err != nil || len(hw) != len(m) || hw[0]&1 != 0 || MAC(hw) == m {
		r.bad(key, "got %q, want a device's Ethernet address, such as \"52:54:00:12:34:56\"", got)
		return m
	}
	return MAC(hw)
}

func (r *reader) dns(s *dnsSection, zones []Zone) *DNS {
	d := &DNS{Domain: r.domain("net.dns.domain", cmp.Or(s.Domain, defaultDomain)), MaxStale: defaultStale}
	if d.Domain == "internal" || d.Domain == GatewayName {
		r.bad("net.dns.domain", "got %q, want a domain of the clinic's own, such as %q", s.Domain, defaultDomain)
	}
	d.Upstream = r.resolvers("net.dns.upstream", s.Upstream, zones)
	if s.MaxStale != nil {
		d.MaxStale = time.Duration(*s.MaxStale)
	}
	if d.MaxStale < 0 || d.MaxStale > maxStale {
		r.bad("net.dns.max_stale", "got %v, want 0s to %v", d.MaxStale, maxStale)
	}
	for _, name := range s.Private {
		d.Private = append(d.Private, r.domain("net.dns.private", name))
	}
	if len(s.Zone) > maxDomains || len(s.Private) > maxDomains {
		r.bad("net.dns", "got %d zones and %d private domains, want at most %d each", len(s.Zone), len(s.Private), maxDomains)
	}
	taken := map[string]string{}
	for i, z := range s.Zone {
		key := fmt.Sprintf("net.dns.zone[%d]", i)
		zone := ResolverZone{Name: r.domain(key+".name", z.Name), Servers: r.resolvers(key+".servers", z.Servers, zones)}
		r.once(key+".name", zone.Name, taken)
		if len(zone.Servers) == 0 {
			r.bad(key+".servers", "got none, want the zone's name servers")
		}
		d.Zones = append(d.Zones, zone)
	}
	return d
}

func (r *reader) resolvers(key string, list []string, zones []Zone) []netip.Addr {
	if len(list) > maxServers {
		r.bad(key, "got %d, want at most %d", len(list), maxServers)
	}
	var all []netip.Addr
	for _, text := range list {
		a := r.addr(key, text)
		if a.IsValid() && slices.Contains(all, a) {
			r.bad(key, "%s is listed twice", a)
		}
		if slices.ContainsFunc(zones, func(z Zone) bool { return a.IsValid() && (a == z.Address.Addr() || a == z.Shared) }) {
			r.bad(key, "%s is the box's own address; it would ask itself", a)
		}
		all = append(all, a)
	}
	return all
}

// domain reads a domain name in small letters, without dots at its ends.
func (r *reader) domain(key, got string) string {
	if !isDomain(got) {
		r.bad(key, "got %q, want a domain in small letters, such as \"hospital.example\"", got)
	}
	return got
}

func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !labelForm.MatchString(label) {
			return false
		}
	}
	return len(s) <= 200
}

func (r *reader) ntp(s *ntpSection, names bool) *NTP {
	n := &NTP{}
	if len(s.Servers) > maxServers {
		r.bad("net.ntp.servers", "got %d, want at most %d", len(s.Servers), maxServers)
	}
	for _, text := range s.Servers {
		if _, err := netip.ParseAddr(text); err == nil {
			text = r.addr("net.ntp.servers", text).String()
		} else if !isDomain(text) || !strings.Contains(text, ".") {
			r.bad("net.ntp.servers", "got %q, want an IPv4 address or a name, such as \"pool.ntp.org\"", text)
		} else if !names {
			r.bad("net.ntp.servers", "got the name %q and no net.dns to look it up, want an IPv4 address", text)
		}
		if slices.Contains(n.Servers, text) {
			r.bad("net.ntp.servers", "%s is listed twice", text)
		}
		n.Servers = append(n.Servers, text)
	}
	return n
}

func toNumber(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func fromNumber(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
