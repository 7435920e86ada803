// Package config reads the [net] section of the site file. What it returns is
// checked whole: later code never has to ask whether two prefixes overlap or a
// gateway can be reached.
package config

import (
	"net/netip"
	"time"

	"clinicgate/firmware/site"
)

// Config is the network of one clinic.
type Config struct {
	LAN      LAN
	Uplinks  []Uplink // in order of preference, at least one
	Probe    Probe
	Tunnels  []Tunnel
	Firewall Firewall
	HA       *HA    // nil: no cable to another box
	Pair     bool   // the site has [pair]: failoverd says which box runs the tunnels
	Zones    []Zone // the clinic's networks, the LAN first
	Six      Six
	Classes  []Class     // one per name of ClassNames, in that order
	DHCP     []Addresses // the zones whose devices get addresses
	DNS      *DNS        // nil: not offered
	NTP      *NTP        // nil: not offered
}

// LAN is the clinic's side of the box.
type LAN struct {
	Port    string       // device name: the port's role on the board, with a tag "PORT.VLAN"
	Address netip.Prefix // this box's own, with the length of the clinic's network
	Tag     Tag
}

// Methods by which an uplink gets its address.
const (
	DHCP   = "dhcp"
	Static = "static"
)

// Uplink is one internet provider.
type Uplink struct {
	Name    string
	Port    string
	Method  string
	Address netip.Prefix // static only
	Gateway netip.Addr   // static only, inside Address
	Metered bool         // every byte costs: no copies but of small datagrams
	Tag     Tag          // Port is made of another
	Six     SixUplink
	Paired  Paired
	Terms
}

// Probe says how an uplink is judged.
type Probe struct {
	Targets []netip.Addr
	Every   time.Duration
	Lost    int // so many in a row unanswered: down
	Back    int // so many in a row answered: up again

	Stamp  netip.AddrPort // a STAMP reflector at the hub; invalid: none
	Portal string         // a page that answers 204, to know sign-in pages by; empty: none
}

// Firewall says what the gateway itself answers.
type Firewall struct {
	LAN    []Service
	WAN    []Service
	Tunnel []Service // those behind the hub
}

// Service is one thing that may be asked of the gateway.
type Service struct {
	Proto string // "icmp", "vrrp", "tcp" or "udp"
	Port  uint16 // tcp and udp only
}

// section is [net] as written; empty means unset.
type section struct {
	LAN struct {
		Port    string   `toml:"port"`
		Address string   `toml:"address"`
		VLAN    *int     `toml:"vlan"`
		Reaches []string `toml:"reaches"`
	} `toml:"lan"`
	Zone   []zoneSection `toml:"zone"`
	IPv6   sixSection    `toml:"ipv6"`
	Uplink []struct {
		Name    string `toml:"name"`
		Port    string `toml:"port"`
		Method  string `toml:"method"`
		Address string `toml:"address"`
		Gateway string `toml:"gateway"`
		Metered bool   `toml:"metered"`

		VLAN        *int   `toml:"vlan"`
		IPv6        string `toml:"ipv6"`
		IPv6Address string `toml:"ipv6_address"`
		IPv6Gateway string `toml:"ipv6_gateway"`
		IPv6Prefix  string `toml:"ipv6_prefix"`
		uplinkTerms
	} `toml:"uplink"`
	Probe struct {
		Targets []string      `toml:"targets"`
		Every   site.Duration `toml:"every"`
		Lost    int           `toml:"lost"`
		Back    int           `toml:"back"`
		Stamp   string        `toml:"stamp"`
		Portal  string        `toml:"portal"`
	} `toml:"probe"`
	Tunnel   []tunnelSection `toml:"tunnel"`
	HA       *haSection      `toml:"ha"`
	Class    classesSection  `toml:"class"`
	DHCP     *dhcpSection    `toml:"dhcp"`
	DNS      *dnsSection     `toml:"dns"`
	NTP      *ntpSection     `toml:"ntp"`
	Firewall struct {
		LAN    []string `toml:"lan"`
		WAN    []string `toml:"wan"`
		Tunnel []string `toml:"tunnel"`
	} `toml:"firewall"`
}

// Bounds of what one box serves.
const (
	maxUplinks = 8
	maxTunnels = 4
	maxHubs    = 4 // of one tunnel
	maxTargets = 8
)

// Parse reads and checks the section. Every complaint is in the error, one line
// each, with file:line.
func Parse(f *site.File) (Config, error) {
	var s section
	if err := f.Decode("net", &s); err != nil {
		return Config{}, err
	}
	r := &reader{f: f}
	var c Config
	r.lan(&s, &c)
	r.uplinks(&s, &c)
	r.classes(s.Class, &c)
	r.probe(&s, &c)
	r.tunnels(&s, &c)
	r.ha(s.HA, &c)
	c.Firewall.LAN = r.services("net.firewall.lan", s.Firewall.LAN)
	c.Firewall.WAN = r.services("net.firewall.wan", s.Firewall.WAN)
	c.Firewall.Tunnel = r.services("net.firewall.tunnel", s.Firewall.Tunnel)
	r.noVRRPOutside(c.Firewall.WAN)
	r.zones(&s, &c)
	r.six(&s, &c)
	r.offers(&s, &c)
	r.paired(&c)
	r.ports(c)
	r.overlaps(c)
	c.Pair = f.Has("pair")
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}
