package config

import (
	"net/netip"
	"strings"
	"time"

	"clinicgate/firmware/site"
)

// Mirror says where the pair's other box is told of uploads, and what holds while
// it is missing.
type Mirror struct {
	Port   string         // netdev of the cable between the boxes
	Listen netip.AddrPort // this box's
	Peer   netip.AddrPort // the other box's
	Wait   time.Duration  // that the other box may take nothing before it counts as missing
	Refuse bool           // uploads are refused while it is missing
}

// mirrorFile is [sync.mirror] as written.
type mirrorFile struct {
	Port   *string        `toml:"port"`
	Listen string         `toml:"listen"`
	Peer   string         `toml:"peer"`
	Wait   *site.Duration `toml:"wait"`
	Alone  *string        `toml:"alone"`
}

// What holds while the other box is missing. Care goes on with one box, and says so,
// unless the site wants it otherwise.
const (
	aloneAcknowledge = "acknowledge"
	aloneRefuse      = "refuse"
)

func (c *check) mirror(in *file, out *Config) {
	m := in.Mirror
	if m == nil {
		return
	}
	port, alone := "ha", aloneAcknowledge
	if m.Port != nil {
		port = *m.Port
	}
	if port == "" || len(port) > 15 || strings.ContainsAny(port, "/ ") {
		c.bad("sync.mirror.port", "got %q, want a port of the board, such as ha", port)
	}
	if m.Alone != nil {
		alone = *m.Alone
	}
	if alone != aloneAcknowledge && alone != aloneRefuse {
		c.bad("sync.mirror.alone", "got %q, want %q or %q", alone, aloneAcknowledge, aloneRefuse)
	}
	out.Mirror = &Mirror{
		Port: port, Listen: c.endpoint("sync.mirror.listen", m.Listen), Peer: c.endpoint("sync.mirror.peer", m.Peer),
		Wait: c.duration("sync.mirror.wait", m.Wait, 2*time.Second, 100*time.Millisecond, time.Minute), Refuse: alone == aloneRefuse,
	}
	if out.Mirror.Listen.IsValid() && out.Mirror.Listen.Addr() == out.Mirror.Peer.Addr() {
		c.bad("sync.mirror.peer", "got this box's own address %v, want the other box's", out.Mirror.Peer.Addr())
	}
}

// endpoint reads an address and a port on the cable between the boxes.
func (c *check) endpoint(key, got string) netip.AddrPort {
	e, err := netip.ParseAddrPort(got)
	if err != nil || e.Addr().IsUnspecified() || e.Addr().IsMulticast() || e.Addr().Zone() != "" || e.Port() == 0 {
		c.bad(key, "got %q, want an address and a port, such as 10.77.0.1:7790", got)
		return netip.AddrPort{}
	}
	return e
}
