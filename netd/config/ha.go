package config

import "net/netip"

// HA is the cable to the pair's other box.
type HA struct {
	Port     string
	Address  netip.Prefix // this box's on it
	Peer     netip.Addr   // the other box's, inside Address
	Services []Service    // what the other box, and nobody else, may ask there
}

// haSection is [net.ha] as written.
type haSection struct {
	Port     string   `toml:"port"`
	Address  string   `toml:"address"`
	Peer     string   `toml:"peer"`
	Services []string `toml:"services"`
}

// haServices are open to the other box unless the site file says otherwise:
// failoverd's passing on of connections, its heartbeat, and syncd's uploads.
var haServices = [...]string{"icmp", "tcp/7789", "udp/7789", "tcp/7790"}

// ha reads [net.ha]; a box of its own has none.
func (r *reader) ha(s *haSection, c *Config) {
	if s == nil {
		return
	}
	h := &HA{
		Port: r.port("net.ha.port", s.Port), Address: r.host("net.ha.address", s.Address),
		Peer: r.addr("net.ha.peer", s.Peer),
	}
	if h.Peer.IsValid() && h.Address.IsValid() && (!h.Address.Contains(h.Peer) || h.Peer == h.Address.Addr()) {
		r.bad("net.ha.peer", "got %s, want the other box's address inside %s", h.Peer, h.Address.Masked())
	}
	list := s.Services
	if list == nil {
		list = haServices[:]
	}
	h.Services = r.services("net.ha.services", list)
	c.HA = h
}
