// Package report puts what netd knows into words for others: the wire file and
// the faults, each with what to do about it. It is pure.
package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/turn"
	"clinicgate/netd/uplink"
)

// Snapshot is what netd knows at one moment.
type Snapshot struct {
	LAN      wire.LAN
	LANWhy   string // why the LAN port carries nothing; empty: it does
	Zones    []Zone // those beside the LAN
	Uplinks  []Uplink
	Active   int // index of the uplink that new flows take, -1: none
	Tunnels  []Tunnel
	Firewall string   // what is wrong with it; empty: it is in force
	Kernel   string   // what the kernel refused; empty: nothing
	Settings []string // kernel settings that are wrong
	Started  time.Time
}

// Zone is a further network on the clinic's side.
type Zone struct {
	Name, Port string
	Why        string // why its port carries nothing; empty: it does
}

// Uplink is one uplink with what its machine says.
type Uplink struct {
	Config  config.Uplink
	Status  uplink.Status
	Address netip.Prefix // invalid: none
	Gateway netip.Addr
	Rx, Tx  uint64
	Use     Use
	IPv6    *wire.UplinkIPv6 // nil: switched off
	Without bool             // the provider gives none, for longer than it takes
}

// Tunnel is one tunnel with what its session says.
type Tunnel struct {
	Config    config.Tunnel
	Hub       int       // of Config.Hubs, the one in use
	Broken    string    // why there is no session; empty: there is one
	Since     time.Time // when State was entered
	State     string    // as Judge said
	Reason    string
	Live      uplink.Status // of the host inside that is asked, if there is one
	Via       string        // uplink by which the hub was heard last; empty: none
	Handshake time.Time
	Called    time.Time // a hub, by this box
	Turn      turn.Turn
	Endpoint  string
	Rx, Tx    uint64
	MTU       int         // of the device; 0: unknown
	Hubs      []time.Time // last handshake with each
	Accepted  uint64      // bytes that the sessions took, of those that came by the paths
	Paths     []Path
}

// Path is one uplink as a tunnel uses it.
type Path struct {
	Uplink       string
	Sends        string // one of wire's
	Copies       int
	RTT          time.Duration
	Loss         float64
	TxBPS, RxBPS float64
	Datagrams    uint64 // sent
	Tx, Rx       uint64 // bytes
	Heard        time.Time
}

// hub is the one in use.
func (t Tunnel) hub() config.Hub { return t.Config.Hubs[t.Hub] }

// Grace periods: what is short enough not to trouble people with.
const (
	linkGrace   = 5 * time.Second
	bootGrace   = 15 * time.Second
	leaseGrace  = 10 * time.Second
	tunnelGrace = 15 * time.Second
	clockGrace  = 2 * time.Second
)

// KeyLife is how long a session key is good (WireGuard's REJECT_AFTER_TIME).
const KeyLife = 180 * time.Second

// Usable reports whether any uplink is.
func (s Snapshot) Usable() bool {
	for _, u := range s.Uplinks {
		if uplink.Usable(u.Status.State) {
			return true
		}
	}
	return false
}

// Judge says in which state a tunnel is and why. With no usable uplink it is down
// at once: others must not wait for a session key to grow old.
func Judge(t Tunnel, usable bool, now time.Time) (state, reason string) {
	switch {
	case t.Broken != "":
		return wire.TunnelDown, t.Broken
	case t.Turn.Late && (t.Turn.Rest || t.Handshake.IsZero()):
		return wire.TunnelDown, t.Turn.Why
	case t.Turn.Rest:
		return wire.TunnelStandby, t.Turn.Why
	case !usable:
		return wire.TunnelDown, "no uplink is usable"
	case t.Handshake.IsZero():
		return wire.TunnelDown, "the hub has not answered yet"
	case now.Sub(t.Handshake) >= KeyLife:
		return wire.TunnelDown, "the hub does not answer since " + t.Handshake.UTC().Format(time.DateTime) + " UTC"
	case t.hub().Probe.IsValid() && !uplink.Usable(t.Live.State):
		return wire.TunnelDown, fmt.Sprintf("the tunnel is made, but %s does not answer in it", t.hub().Probe)
	}
	return wire.TunnelUp, "the hub answers"
}

// Net is the wire file.
func (s Snapshot) Net() *wire.Net {
	n := &wire.Net{LAN: s.LAN, Uplinks: []wire.Uplink{}, Tunnels: []wire.Tunnel{}}
	for i, u := range s.Uplinks {
		if i == s.Active && uplink.Usable(u.Status.State) {
			n.Active = u.Config.Name
		}
		n.Uplinks = append(n.Uplinks, u.wire())
	}
	for _, t := range s.Tunnels {
		w := wire.Tunnel{
			Name: t.Config.Name, State: t.State, Reason: t.Reason, Since: utc(t.Since), Device: t.Config.Device,
			Address: t.Config.Address.String(), Endpoint: t.hub().Endpoint.String(), Via: cmp.Or(t.Via, n.Active),
			RTTMS:     millis(t.Live.RTT),
			Handshake: utc(t.Handshake), Called: utc(t.Called), RxBytes: t.Rx, TxBytes: t.Tx,
		}
		if t.Endpoint != "" {
			w.Endpoint = t.Endpoint
		}
		t.more(&w)
		n.Tunnels = append(n.Tunnels, w)
	}
	return n
}

func (u Uplink) wire() wire.Uplink {
	w := wire.Uplink{
		Name: u.Config.Name, Port: u.Config.Port, State: u.Status.State, Reason: u.Status.Reason, Since: utc(u.Status.Since),
		RTTMS:   millis(u.Status.RTT),
		LossPct: float64(int(u.Status.Loss + 0.5)), RxBytes: u.Rx, TxBytes: u.Tx,
		UplinkUse: u.use(),
	}
	w.IPv6 = u.IPv6
	if u.Address.IsValid() {
		w.Address, w.Gateway = u.Address.String(), u.Gateway.String()
	}
	return w
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// NoFirewall is the fault that rules could not be put in force.
const NoFirewall = "firewall.failed"

// IDs lists every fault this package can state.
func IDs() []string {
	return []string{
		NoFirewall, "netd.kernel", "netd.settings", "netd.no-uplink", "lan.no-link", "zone.no-link",
		"uplink.no-link", "uplink.no-lease", "uplink.down", "uplink.degraded", "uplink.no-ipv6", "uplink.captive", "uplink.cap", "tunnel.broken", "tunnel.clock", "tunnel.down",
	}
}

// Faults returns what is wrong, by ID.
func (s Snapshot) Faults(now time.Time) map[string][]wire.Fault {
	all := map[string][]wire.Fault{}
	add := func(id string, sev wire.Severity, where, what, do string) {
		all[id] = append(all[id], wire.Fault{ID: id, Severity: sev, Where: where, What: what, Do: do})
	}
	if s.Firewall != "" {
		add(NoFirewall, wire.Alarm, "netd", s.Firewall, "the rules in force before stay; where there were none the box answers a technician's port and pings alone, and uses no uplink; send this line to support")
	}
	if s.Kernel != "" {
		add("netd.kernel", wire.Alarm, "netd", s.Kernel, "remove what stands in the way, or send this line to support")
	}
	for _, w := range s.Settings {
		add("netd.settings", wire.Alarm, "kernel setting "+w, "wrong value, and netd may not change it: "+w, "let init set it at boot")
	}
	settled := now.Sub(s.Started) >= bootGrace
	if s.LANWhy != "" && settled {
		add("lan.no-link", wire.Alarm, "port "+s.LAN.Port, s.LANWhy+" on "+s.LAN.Port+" (the clinic's side)", "check the cable between "+s.LAN.Port+" and the clinic's switch")
	}
	for _, z := range s.Zones {
		if z.Why != "" && settled {
			add("zone.no-link", wire.Alarm, "port "+z.Port, z.Why+" on "+z.Port+" (zone "+z.Name+")",
				"check the cable of "+z.Port+", or take the zone "+z.Name+" out of the site file")
		}
	}
	for _, u := range s.Uplinks {
		u.faults(now, add)
	}
	if !s.Usable() && settled {
		add("netd.no-uplink", wire.Alarm, "netd", "no internet provider can be used", "see the faults of the uplinks; the clinic works from the cache until one is back")
	}
	for _, t := range s.Tunnels {
		t.faults(now, add)
	}
	return all
}

type adder func(id string, sev wire.Severity, where, what, do string)

func (u Uplink) faults(now time.Time, add adder) {
	c, lasted := u.Config, now.Sub(u.Status.Since)
	if u.Without {
		add("uplink.no-ipv6", wire.Warning, "uplink "+c.Name, fmt.Sprintf("no IPv6 on %s: %s", c.Port, u.IPv6.Reason),
			fmt.Sprintf("IPv4 works on; ask %s, or set ipv6 = \"off\" for it in the site file", c.Name))
	}
	u.capFaults(add)
	switch {
	case u.Status.State == wire.UplinkNoLink && lasted >= linkGrace:
		add("uplink.no-link", wire.Alarm, "port "+c.Port, fmt.Sprintf("%s on %s (uplink %s)", u.Status.Reason, c.Port, c.Name),
			fmt.Sprintf("check the cable between %s and the modem of %s, and that the modem has power", c.Port, c.Name))
	case u.Status.State == wire.UplinkNoAddress && lasted >= leaseGrace:
		add("uplink.no-lease", wire.Alarm, "uplink "+c.Name, fmt.Sprintf("no address on %s: %s", c.Port, u.Status.Reason),
			fmt.Sprintf("restart the modem of %s; if it needs a fixed address, enter it in the site file", c.Name))
	case u.Status.State == wire.UplinkDown && (u.Status.Failed || lasted >= leaseGrace):
		add("uplink.down", wire.Alarm, "uplink "+c.Name, fmt.Sprintf("nothing comes back through %s: %s", c.Port, u.Status.Reason),
			fmt.Sprintf("restart the modem of %s; if that does not help, call the provider", c.Name))
	case u.Status.State == wire.UplinkCaptive:
		add("uplink.captive", wire.Alarm, "uplink "+c.Name, u.Status.Reason,
			fmt.Sprintf("sign in from a computer at the modem of %s, or ask the provider to let this box pass", c.Name))
	case u.Status.State == wire.UplinkDegraded && lasted >= linkGrace:
		add("uplink.degraded", wire.Warning, "uplink "+c.Name, fmt.Sprintf("%s works badly: %s", c.Port, u.Status.Reason),
			fmt.Sprintf("if it lasts, tell the provider of %s", c.Name))
	}
}

func (t Tunnel) faults(now time.Time, add adder) {
	where := "tunnel " + t.Config.Name
	switch {
	case t.Broken != "":
		add("tunnel.broken", wire.Alarm, where, t.Broken,
			fmt.Sprintf("check secrets/netd/%s and /dev/net/tun", t.Config.KeyFile))
	case t.State == wire.TunnelDown && t.Turn.Late && now.Sub(t.Since) >= clockGrace:
		add("tunnel.clock", wire.Alarm, where, t.Reason,
			"set this box's clock (hwclock in the firmware's setup, or the other box's time over the cable between them)")
	case t.State == wire.TunnelDown && now.Sub(t.Since) >= tunnelGrace:
		add("tunnel.down", wire.Alarm, where, fmt.Sprintf("%s (%s)", t.Reason, t.hub().Endpoint),
			"if an uplink is up: check that the hub runs and knows this box's key")
	}
}
