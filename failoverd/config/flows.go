package config

import (
	"net/netip"

	"clinicgate/firmware/site"
)

// Flows says where the other box is told of connections.
type Flows struct {
	Port   string         // netdev of the cable between the boxes
	Listen netip.AddrPort // this box's
	Peer   netip.AddrPort // the other box's
	Max    int            // connections, each way
}

type flowSection struct {
	Port   *string `toml:"port"`
	Listen string  `toml:"listen"`
	Peer   string  `toml:"peer"`
	Max    *int    `toml:"max"`
}

const (
	defaultFlowsPort = "ha"
	defaultFlowsMax  = 100_000 // some 40 MB on each box
	leastFlows       = 100
	mostFlows        = 1_000_000
	maxDevice        = 15 // characters of a device's name
)

// flows checks [pair.flows]. Without it connections are not passed on.
func flows(f *site.File, s *flowSection) (*Flows, error) {
	if s == nil {
		return nil, nil
	}
	c := check{f: f, at: "pair.flows"}
	port := or(s.Port, defaultFlowsPort)
	c.text("port", port, maxDevice)
	most := or(s.Max, defaultFlowsMax)
	if most < leastFlows || most > mostFlows {
		c.refuse("max", "got %d, want %d to %d", most, leastFlows, mostFlows)
	}
	listen, peer := c.endpoint("listen", s.Listen), c.endpoint("peer", s.Peer)
	if listen.Addr() == peer.Addr() {
		c.refuse("peer", "got this box's own address %v, want the other box's", peer.Addr())
	}
	return &Flows{Port: port, Listen: listen, Peer: peer, Max: most}, c.err
}

// endpoint reads an address and a port on the cable between the boxes.
func (c *check) endpoint(key, text string) netip.AddrPort {
	e, err := netip.ParseAddrPort(text)
	if err != nil || e.Addr().IsUnspecified() || e.Addr().IsMulticast() || e.Addr().Zone() != "" || e.Port() == 0 {
		c.refuse(key, "got %q, want an address and a port, such as 10.77.0.1:7789", text)
	}
	return e
}
