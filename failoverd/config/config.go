// Package config reads failoverd's section of the site file: [[pair.group]], the
// addresses that two boxes share, and [pair.flows], the cable between them. What
// Parse returns needs no further check.
package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"clinicgate/firmware/site"
)

// Config is the checked section.
type Config struct {
	Groups []Group
	Flows  *Flows // nil: connections are not passed on
}

// Group is one VRRP virtual router.
type Group struct {
	Name      string
	VRID      uint8  // 1 to 255, the same on both boxes
	Port      string // netdev that carries the addresses and the advertisements
	Addresses []netip.Prefix
	Priority  uint8         // 1 to 254; Owner: the box owns the addresses, nothing is computed
	Interval  time.Duration // between advertisements, whole centiseconds
	Preempt   bool          // take over from a master of lower priority
	Delay     time.Duration // after a start, before it does
	Sync      string        // groups of one name take part together or not at all; empty: alone
	Peers     []netip.Addr  // the other box's own addresses; none: anybody is believed
	Unicast   bool          // advertise to Peers alone, not to the VRRP group
	Virtual   bool          // the addresses are at the virtual router's own hardware address
	Accept    bool          // the master answers under the addresses; false: it only forwards
}

// Owner is the priority of a box that owns the addresses.
const Owner = 255

// Limits.
const (
	maxGroups    = 8
	maxAddresses = 16
	// A port's name and ":pair", the label of our addresses, fit into the 15
	// characters of an interface label.
	maxPort = 10

	step        = 10 * time.Millisecond
	maxInterval = 4095 * step
	maxDelay    = time.Hour
	maxPeers    = 8
)

type section struct {
	Flows *flowSection `toml:"flows"`
	Group []struct {
		Name      string         `toml:"name"`
		VRID      int            `toml:"vrid"`
		Port      string         `toml:"port"`
		Addresses []netip.Prefix `toml:"addresses"`
		Priority  *int           `toml:"priority"`
		Interval  *site.Duration `toml:"interval"`
		Preempt   *bool          `toml:"preempt"`
		Delay     site.Duration  `toml:"preempt_delay"`
		Sync      string         `toml:"sync"`
		Peers     []netip.Addr   `toml:"peers"`
		Unicast   bool           `toml:"unicast"`
		MAC       string         `toml:"mac"`
		Accept    *bool          `toml:"accept"`
	} `toml:"group"`
}

// Defaults for keys that may be left out.
const (
	defaultPriority = 100
	defaultInterval = 50 * time.Millisecond
	defaultPreempt  = true
	defaultAccept   = true
)

// Parse returns the checked section. A site without [pair] has no groups: its
// box answers under its own address only.
func Parse(f *site.File) (Config, error) {
	if !f.Has("pair") {
		return Config{}, nil
	}
	var s section
	if err := f.Decode("pair", &s); err != nil {
		return Config{}, err
	}
	if len(s.Group) > maxGroups {
		return Config{}, f.Errorf("pair.group", "got %d groups, want at most %d", len(s.Group), maxGroups)
	}
	var cfg Config
	var err error
	if cfg.Flows, err = flows(f, s.Flows); err != nil {
		return Config{}, err
	}
	for i, raw := range s.Group {
		c := check{f: f, at: fmt.Sprintf("pair.group[%d]", i)}
		g := Group{
			Name:      raw.Name,
			VRID:      uint8(raw.VRID),
			Port:      raw.Port,
			Addresses: raw.Addresses,
			Priority:  uint8(or(raw.Priority, defaultPriority)),
			Interval:  time.Duration(or(raw.Interval, site.Duration(defaultInterval))),
			Preempt:   or(raw.Preempt, defaultPreempt),
			Delay:     time.Duration(raw.Delay),
			Sync:      raw.Sync,
			Peers:     raw.Peers,
			Unicast:   raw.Unicast,
			Virtual:   raw.MAC == macVirtual,
			Accept:    or(raw.Accept, defaultAccept),
		}
		c.text("name", g.Name, 32)
		c.number("vrid", raw.VRID, 255)
		c.text("port", g.Port, maxPort)
		c.number("priority", or(raw.Priority, defaultPriority), Owner)
		c.interval(g.Interval)
		c.addresses(g.Addresses)
		if g.Sync != "" {
			c.text("sync", g.Sync, 32)
		}
		c.delay(g)
		c.peers(g)
		c.way(g, raw.MAC)
		c.apart(g, cfg.Groups)
		if c.err != nil {
			return Config{}, c.err
		}
		cfg.Groups = append(cfg.Groups, g)
	}
	return cfg, nil
}

func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// family is 4 or 6; an empty group, which is refused elsewhere, has none.
func family(g Group) int {
	switch {
	case len(g.Addresses) == 0:
		return 0
	case g.Addresses[0].Addr().Is4():
		return 4
	}
	return 6
}

// both returns the first address that two groups announce.
func both(a, b Group) (netip.Addr, bool) {
	for _, p := range a.Addresses {
		same := func(q netip.Prefix) bool { return p.Addr() == q.Addr() }
		if slices.ContainsFunc(b.Addresses, same) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}
