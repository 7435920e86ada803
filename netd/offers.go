package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/netd/config"
	"clinicgate/netd/dhcpd"
	"clinicgate/netd/plan"
	"clinicgate/netd/resolver"
	"clinicgate/netd/resolver/upstream"
	"clinicgate/netd/timeserver"
	"clinicgate/netd/uplink"
)

// offers are the services of the clinic's zones. Each runs by itself, keeps its own
// state and locks it; the loop only asks for it.
type offers struct {
	env  *daemon.Env
	cfg  config.Config
	dhcp []*dhcpd.Server    // as cfg.DHCP
	dns  *resolver.Server   // nil: not offered
	time *timeserver.Server // nil: not offered

	ways   []upstream.Way // as told to dns, and the active one
	active int
	nets   []resolver.Network // likewise
}

func newOffers(env *daemon.Env, cfg config.Config) *offers {
	o := &offers{env: env, cfg: cfg}
	for _, zone := range cfg.DHCP {
		o.dhcp = append(o.dhcp, dhcpd.New(zone, cfg, filepath.Join(env.State, "dhcp-"+zone.Zone), env.Log))
	}
	if cfg.DNS != nil {
		o.dns = resolver.New(cfg, filepath.Join(env.State, "dns-cache"), plan.Mark, env.Log)
	}
	if cfg.NTP != nil {
		// The mark goes with the run directory, at the next boot.
		o.time = timeserver.New(cfg, filepath.Join(env.Run, ".clock-is-set"), o.lookup, timeserver.Kernel{}, env.Log)
	}
	return o
}

// lookup is how the time server finds its servers. The site file has names there
// only where it has a resolver.
func (o *offers) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if o.dns == nil {
		return nil, errors.New("this site has no resolver")
	}
	return o.dns.Lookup(ctx, name)
}

// follow takes in what is known of the uplinks. The loop calls it.
func (o *offers) follow(b *box) {
	o.followSix(b)
	var ways []upstream.Way
	for _, u := range b.ups {
		usable := b.safe && u.address.IsValid() && uplink.Usable(u.machine.Status().State)
		ways = append(ways, upstream.Way{Name: u.cfg.Name, Port: u.cfg.Port, Usable: usable, Servers: u.dns})
	}
	if b.active != o.active || !reflect.DeepEqual(ways, o.ways) {
		o.ways, o.active = ways, b.active
		o.spread()
	}
}

// followSix takes in which IPv6 networks the zones have: those the firewall knows.
func (o *offers) followSix(b *box) {
	if o.dns == nil || !o.cfg.HasSix() {
		return
	}
	var nets []resolver.Network
	for _, z := range o.cfg.Zones {
		for _, p := range append([]netip.Prefix{o.cfg.Six.Local}, b.walled...) {
			if sub := plan.Subnet(z, p); sub.IsValid() {
				nets = append(nets, resolver.Network{Zone: z.Name, Prefix: sub})
			}
		}
	}
	if !slices.Equal(nets, o.nets) {
		o.nets = nets
		o.dns.Networks(nets)
	}
}

// spread tells the services of the uplinks.
func (o *offers) spread() {
	if o.dns != nil {
		o.dns.Follow(o.ways, o.active)
	}
	if o.time != nil {
		var way timeserver.Way
		usable := o.active >= 0 && o.ways[o.active].Usable
		if usable {
			way = timeserver.Way{Port: o.ways[o.active].Port, Mark: plan.Mark(o.active)}
		}
		o.time.Follow(way, usable)
	}
}

// tasks are what runs beside the loop.
func (o *offers) tasks() []daemon.Task {
	tasks := []daemon.Task{{Name: "role", Run: o.followRole}}
	for i, s := range o.dhcp {
		tasks = append(tasks, daemon.Task{Name: "dhcp " + o.cfg.DHCP[i].Zone, Run: s.Run})
	}
	if o.dns != nil {
		tasks = append(tasks, daemon.Task{Name: "dns", Run: o.dns.Run})
	}
	if o.time != nil {
		tasks = append(tasks, daemon.Task{Name: "time", Run: o.time.Run})
	}
	return tasks
}

// followRole has the DHCP servers answer while this box has the zone's address: of
// a pair one does. Without failoverd's word nobody knows, and this box only listens.
func (o *offers) followRole(ctx context.Context) error {
	got := func(f *wire.Failover) {
		for i, zone := range o.cfg.DHCP {
			o.dhcp[i].Answer(zone.Gateway == zone.Own.Addr() || f != nil && masters(f, zone.Gateway))
		}
	}
	bad := func(err error) { o.env.Log.Warn("failoverd's state", "err", err) }
	return wirefile.Follow(ctx, o.env.Run, wire.FailoverFile, got, bad)
}

// masters reports whether this box has one of the pair's addresses.
func masters(f *wire.Failover, a netip.Addr) bool {
	return slices.ContainsFunc(f.Groups, func(g wire.Group) bool {
		has := func(cidr string) bool {
			p, err := netip.ParsePrefix(cidr)
			return err == nil && p.Addr() == a
		}
		return g.Role == wire.RoleMaster && slices.ContainsFunc(g.Addresses, has)
	})
}

// tell writes the services' state into the wire file and states their faults.
func (o *offers) tell(n *wire.Net) {
	var faults []wire.Fault
	for _, s := range o.dhcp {
		w, f := s.State()
		n.DHCP = append(n.DHCP, w)
		faults = append(faults, f...)
	}
	if o.dns != nil {
		w, f := o.dns.State()
		n.DNS = w
		faults = append(faults, f...)
	}
	if o.time != nil {
		w, f := o.time.State()
		n.Time = w
		faults = append(faults, f...)
	}
	for _, id := range slices.Concat(dhcpd.IDs(), resolver.IDs(), timeserver.IDs()) {
		o.env.Faults.Keep(id, slices.DeleteFunc(slices.Clone(faults), func(f wire.Fault) bool { return f.ID != id })...)
	}
}

// routes adds what can be asked at the control socket.
func (o *offers) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /leases", func(w http.ResponseWriter, _ *http.Request) {
		list := []wire.Lease{}
		for _, s := range o.dhcp {
			list = append(list, s.Leases()...)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list) // a caller that hung up
	})
}
