// Package plan turns the configuration and the states of the uplinks into the
// whole kernel state that netd wants: addresses, routes and rules. It is pure;
// netd/apply makes the kernel agree.
//
// The layout, which the box's documents and `ip rule` show as well:
//
//	rule 6900+i      fwmark of its class → table 7400+i, for tunnel i that has one
//	rule 7000        main, without its default route: the LAN and the tunnels
//	rule 7100+i      fwmark (i+1)<<16 in mask 0xff0000 → table 7100+i
//	rule 7200+i      from the address of uplink i → table 7100+i
//	rule 7300+k      fwmark (k+1)<<24 in mask 0xf000000 → table 7300+k
//	rule 32766       main: the default route, by the uplinks that take new flows
//	table 7100+i     uplink i alone: its own network and its default route
//	table 7300+k     the default route of class k, if it has uplinks of its own
//	table 7400+i     the routes of tunnel i, which is for the flows of one class
//
// The first packet of a connection chooses its uplink by class and by hash; netd's
// firewall then marks the connection with the uplink, so that its packets stay with
// it whatever becomes of the choice.
//
// An uplink's own network is in its table only, never in main: two modems may
// hand out the same 192.168.1.0/24, and a DHCP server that lies about its network
// can redirect nothing but its own uplink.
package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"clinicgate/netd/config"
	"clinicgate/netd/pathmtu"
	"clinicgate/netd/uplink"
)

// Protocol marks routes and rules as netd's, in `ip route` as "proto 71". It is
// not assigned in iproute2's rt_protos. What carries another number is not ours
// and is left alone.
const Protocol = 71

// Numbers of the layout above.
const (
	tableMain   = 254
	tableBase   = 7100
	ruleTunnel  = 6900
	ruleMain    = 7000
	ruleMark    = 7100
	ruleFrom    = 7200
	ruleClass   = 7300
	markShift   = 16
	MarkMask    = 0xff0000
	classShift  = 24
	ClassMask   = 0xf000000
	classBase   = 7300
	Unheard     = 1 << 28 // in the mark of packets that nobody answers by the same uplink
	tunnelBase  = 7400
	metric      = 71         // of our routes in main
	metricGuard = 4000000000 // of the unreachable routes behind the tunnels'
)

// Mark is the fwmark of packets and connections that belong to uplink i.
func Mark(i int) uint32 { return uint32(i+1) << markShift }

// Table is the routing table of uplink i.
func Table(i int) int { return tableBase + i }

// ClassMark is the fwmark of packets and connections of config's class k.
func ClassMark(k int) uint32 { return uint32(k+1) << classShift }

// ClassTable is the routing table of class k.
func ClassTable(k int) int { return classBase + k }

// Uplink is what is known of one uplink, in the order of the configuration.
type Uplink struct {
	State   string       // one of wire's uplink states
	Address netip.Prefix // invalid: none
	Gateway netip.Addr   // valid when Address is; outside Address it is on the link all the same
	Spent   bool         // its monthly cap is: a last resort, whatever its role
	Carries int          // the largest packet that passes to the hub, in bytes; 0: unknown
	Six     Six
}

// Kernel is the wanted state. Everything is sorted; equal states are equal values.
type Kernel struct {
	Links  []Link
	Addrs  []Addr
	Routes []Route
	Rules  []Rule
	Queues []Queue
}

// Link is a device that has to be up.
type Link struct {
	Dev string
	MTU int        // 0: as it is
	Tag config.Tag // it has to be made, of its parent; zero: it is there or not
}

// Addr is an address of ours on a device.
type Addr struct {
	Dev     string
	Prefix  netip.Prefix
	NoRoute bool // the kernel must not add the network's route to main
}

// Route is a route of ours.
type Route struct {
	Table       int
	Dst         netip.Prefix
	Metric      int
	Unreachable bool // no device: refuse
	Dev         string
	Via         netip.Addr   // invalid: on the link
	OnLink      bool         // Via is reached directly though no network says so
	Src         netip.Addr   // preferred source, invalid: none
	Hops        [maxHops]Hop // where there are some, one of these by the flow's hash
}

// maxHops is how many uplinks a site may have.
const maxHops = 8

// Hop is one way of several that a route has.
type Hop struct {
	Dev    string
	Via    netip.Addr // on the link, though no network says so
	Weight int        // 1 to 256; 0: no hop
}

// Rule is a routing policy rule of ours.
type Rule struct {
	Priority  int
	From      netip.Prefix // invalid: all
	Mark      uint32       // in Mask; 0: any
	Mask      uint32
	Table     int
	NoDefault bool // pass over routes of length 0
	Six       bool // IPv6's
}

// Make returns the state the kernel should be in. active comes from Active.
func Make(c config.Config, ups []Uplink, active int) Kernel {
	var k Kernel
	for _, z := range c.Zones {
		k.link(z.Port, z.Tag)
		k.Addrs = append(k.Addrs, Addr{Dev: z.Port, Prefix: z.Address})
	}
	if h := c.HA; h != nil {
		k.link(h.Port, config.Tag{})
		k.Addrs = append(k.Addrs, Addr{Dev: h.Port, Prefix: h.Address})
	}
	k.Rules = append(k.Rules, Rule{Priority: ruleMain, Table: tableMain, NoDefault: true})
	for i, u := range c.Uplinks {
		k.link(u.Port, u.Tag)
		if ups[i].Address.IsValid() {
			k.uplink(u.Port, i, ups[i])
		}
	}
	if shares := Shares(c, ups, active); len(shares) > 0 {
		k.Routes = append(k.Routes, defaultRoute(c, tableMain, metric, ups, shares))
	} else if active >= 0 {
		k.Routes = append(k.Routes, toGateway(c.Uplinks[active].Port, tableMain, metric, ups[active]))
	}
	k.classes(c, ups)
	for i, t := range c.Tunnels {
		k.tunnel(i, t, TunnelMTU(c, t, ups))
	}
	k.six(c, ups, active)
	k.queues(c)
	k.sort()
	return k
}

// link adds a device that has to be up, once, after the one it is made of.
func (k *Kernel) link(dev string, tag config.Tag) {
	for _, l := range []Link{{Dev: tag.Parent}, {Dev: dev, Tag: tag}} {
		if l.Dev != "" && !slices.ContainsFunc(k.Links, func(k Link) bool { return k.Dev == l.Dev }) {
			k.Links = append(k.Links, l)
		}
	}
}

func (k *Kernel) uplink(dev string, i int, u Uplink) {
	own := u.Address.Addr()
	k.Addrs = append(k.Addrs, Addr{Dev: dev, Prefix: u.Address, NoRoute: true})
	k.Routes = append(k.Routes, toGateway(dev, Table(i), 0, u))
	if u.Address.Bits() < 32 {
		k.Routes = append(k.Routes, Route{Table: Table(i), Dst: u.Address.Masked(), Dev: dev, Src: own})
	}
	k.Rules = append(k.Rules,
		Rule{Priority: ruleMark + i, Mark: Mark(i), Mask: MarkMask, Table: Table(i)},
		Rule{Priority: ruleFrom + i, From: netip.PrefixFrom(own, 32), Table: Table(i)})
}

func everywhere() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// toGateway is a default route through one uplink. In main no network of the
// uplink's contains the gateway, so the route says itself that it is on the link.
func toGateway(dev string, table, metric int, u Uplink) Route {
	return Route{
		Table: table, Dst: everywhere(), Metric: metric,
		Dev: dev, Via: u.Gateway, OnLink: true, Src: u.Address.Addr(),
	}
}

// tunnel adds the tunnel's device, and behind each of its routes one that refuses:
// while the device is missing, what belongs into the tunnel must not leave through
// a provider in clear. A tunnel that is for one class has its routes in a table of
// their own for these flows, and in main behind those of the other tunnels.
func (k *Kernel) tunnel(i int, t config.Tunnel, mtu int) {
	k.Links = append(k.Links, Link{Dev: t.Device, MTU: mtu})
	k.Addrs = append(k.Addrs, Addr{Dev: t.Device, Prefix: t.Address})
	main := metric
	if t.Class >= 0 {
		main += 1 + i
		k.Rules = append(k.Rules, Rule{Priority: ruleTunnel + i, Mark: ClassMark(t.Class), Mask: ClassMask, Table: tunnelBase + i})
	}
	for _, p := range t.Routes {
		if t.Class >= 0 {
			k.Routes = append(k.Routes, Route{Table: tunnelBase + i, Dst: p, Metric: metric, Dev: t.Device, Src: t.Address.Addr()})
		}
		k.Routes = append(k.Routes, Route{Table: tableMain, Dst: p, Metric: main, Dev: t.Device, Src: t.Address.Addr()})
		guard := Route{Table: tableMain, Dst: p, Metric: metricGuard, Unreachable: true}
		if !slices.Contains(k.Routes, guard) {
			k.Routes = append(k.Routes, guard)
		}
	}
}

// TunnelMTU is what fits into every uplink that may carry the tunnel's large packets:
// the usable ones that cost nothing by the byte, or all usable ones.
func TunnelMTU(c config.Config, t config.Tunnel, ups []Uplink) int {
	if t.MTU > 0 {
		return t.MTU
	}
	smallest := func(metered bool) int {
		mtu := config.MaxTunnelMTU
		for i, u := range ups {
			if uplink.Usable(u.State) && u.Carries > 0 && c.Uplinks[i].Metered == metered {
				mtu = min(mtu, max(pathmtu.Inner(u.Carries), config.MinTunnelMTU))
			}
		}
		return mtu
	}
	free := func(i int) bool { return uplink.Usable(ups[i].State) && !c.Uplinks[i].Metered }
	for i := range ups {
		if free(i) {
			return smallest(false)
		}
	}
	return smallest(true)
}

func (k *Kernel) sort() {
	slices.SortStableFunc(k.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Addr().Compare(b.Dst.Addr()),
			cmp.Compare(a.Dst.Bits(), b.Dst.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	slices.SortStableFunc(k.Rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
}
