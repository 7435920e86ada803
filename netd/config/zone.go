package config

import (
	"fmt"
	"net/netip"
	"slices"

	"clinicgate/firmware/site"
)

// Kinds of zones. A kind fixes what its members may reach beyond the gateway.
const (
	KindStaff   = "staff"   // workstations: the internet, the tunnels, and zones named in reaches
	KindDevices = "devices" // medical devices: the gateway's ways in, nothing else
	KindGuests  = "guests"  // the internet, nothing of the clinic
	KindService = "service" // a technician's port: the gateway alone, which it can't be locked out of
)

// A Zone is one network on the clinic's side. The first of Config.Zones is the LAN
// of [net.lan]; its name is "lan", its kind KindStaff.
type Zone struct {
	Name    string
	Kind    string
	Port    string // device: the port, or "PORT.VLAN"
	Tag     Tag
	Address netip.Prefix // this box's own, with the length of the zone's network
	Serves  []Service    // what the gateway answers its members
	Reaches []string     // names of other zones that its members may open connections to
	Virtual []string     // failoverd's devices with the pair's virtual MAC on this port
	Shared  netip.Addr   // the pair's address in it, from failoverd's section; invalid: none
	Subnet  int          // number of the zone's /64 in each IPv6 prefix
}

// Internet reports whether the zone's members may open connections to the internet.
func (z Zone) Internet() bool { return z.Kind == KindStaff || z.Kind == KindGuests }

// Tunnels reports whether they may open connections into the tunnels.
func (z Zone) Tunnels() bool { return z.Kind == KindStaff }

// Devices are all by which packets of the zone come in: the port, and failoverd's
// on top of it.
func (z Zone) Devices() []string { return append([]string{z.Port}, z.Virtual...) }

// A Tag is a device made of another by an IEEE 802.1Q tag; zero: it is a port.
type Tag struct {
	Parent string
	VLAN   int // 1 to 4094
}

// zoneSection is [[net.zone]] as written.
type zoneSection struct {
	Name    string   `toml:"name"`
	Kind    string   `toml:"kind"`
	Port    string   `toml:"port"`
	VLAN    *int     `toml:"vlan"`
	Address string   `toml:"address"`
	Serves  []string `toml:"serves"`
	Reaches []string `toml:"reaches"`
}

const maxZones = 8 // without the LAN

// tagged reads a port with an optional tag and returns its device.
func (r *reader) tagged(key, port string, vlan *int) (string, Tag) {
	port = r.port(key+".port", port)
	if vlan == nil {
		return port, Tag{}
	}
	if *vlan < 1 || *vlan > 4094 {
		r.bad(key+".vlan", "got %d, want 1 to 4094", *vlan)
	}
	dev := fmt.Sprintf("%s.%d", port, *vlan)
	if !portForm.MatchString(dev) {
		r.bad(key+".vlan", "the device would be called %q, want at most 12 characters", dev)
	}
	return dev, Tag{Parent: port, VLAN: *vlan}
}

// zones reads [[net.zone]]. The LAN has been read before.
func (r *reader) zones(s *section, c *Config) {
	c.Zones = []Zone{{Name: "lan", Kind: KindStaff, Port: c.LAN.Port, Tag: c.LAN.Tag, Address: c.LAN.Address, Serves: c.Firewall.LAN, Reaches: s.LAN.Reaches}}
	if n := len(s.Zone); n > maxZones {
		r.bad("net.zone", "got %d zones, want at most %d beside the LAN", n, maxZones)
	}
	names := map[string]string{"lan": r.f.At("net.lan"), "internet": "the word for the providers' side", "tunnels": "the word for the hub's side"}
	for i, z := range s.Zone {
		key := fmt.Sprintf("net.zone[%d]", i)
		zone := Zone{Name: r.name(key+".name", z.Name, names), Kind: z.Kind, Subnet: i + 1, Address: r.host(key+".address", z.Address),
			Serves: r.services(key+".serves", z.Serves), Reaches: z.Reaches}
		zone.Port, zone.Tag = r.tagged(key, z.Port, z.VLAN)
		if !slices.Contains([]string{KindStaff, KindDevices, KindGuests, KindService}, z.Kind) {
			r.bad(key+".kind", "got %q, want \"staff\", \"devices\", \"guests\" or \"service\"", z.Kind)
		}
		c.Zones = append(c.Zones, zone)
	}
	for i, z := range c.Zones {
		r.reaches(zoneKey(i), z, c.Zones)
	}
	r.virtual(c)
}

// zoneKey is the table that zone i was read from.
func zoneKey(i int) string {
	if i == 0 {
		return "net.lan"
	}
	return fmt.Sprintf("net.zone[%d]", i-1)
}

// reaches checks which zones z may open connections to. Only staff may to any: a
// device or a guest that could would make of its zone a name without a meaning.
func (r *reader) reaches(key string, z Zone, all []Zone) {
	key += ".reaches"
	if len(z.Reaches) > 0 && z.Kind != KindStaff {
		r.bad(key, "got %q for a zone of kind %q, want none: only staff may reach other zones", z.Reaches, z.Kind)
		return
	}
	for i, name := range z.Reaches {
		switch {
		case name == z.Name || !slices.ContainsFunc(all, func(o Zone) bool { return o.Name == name }):
			r.bad(key, "got %q, want the name of another zone", name)
		case slices.Contains(z.Reaches[:i], name):
			r.bad(key, "%q is listed twice", name)
		}
	}
}

// virtual finds the devices that failoverd makes for its virtual MACs, one for each
// family of a group, so that what comes in by them counts as the zone's. failoverd
// checks its section itself; what makes no sense is passed over here.
func (r *reader) virtual(c *Config) {
	for _, g := range groups(r.f) {
		for i := range c.Zones {
			if z, dev := &c.Zones[i], fmt.Sprintf("vm-%d-4", g.vrid); g.port == z.Port && !slices.Contains(z.Virtual, dev) {
				z.Virtual = append(z.Virtual, dev, fmt.Sprintf("vm-%d-6", g.vrid))
			}
		}
	}
}

type group struct {
	name, port string
	vrid       int64
	address    netip.Addr // its first
}

func groups(f *site.File) []group {
	var pair map[string]any
	if !f.Has("pair") || f.Decode("pair", &pair) != nil {
		return nil
	}
	var all []group
	list, _ := pair["group"].([]any)
	for _, g := range list {
		table, _ := g.(map[string]any)
		port, _ := table["port"].(string)
		vrid, _ := table["vrid"].(int64)
		name, _ := table["name"].(string)
		if one := (group{name, port, vrid, firstAddress(table["addresses"])}); vrid >= 1 && vrid <= 255 && !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, order)
	return all
}
