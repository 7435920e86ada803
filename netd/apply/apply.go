// Package apply makes the kernel hold exactly what netd/plan wants: it adds what
// is missing, replaces what differs and removes what is netd's own and no longer
// wanted. Applying the same plan again changes nothing, and what netd did not
// make is never touched: our routes and rules carry plan.Protocol, our addresses
// the label suffix ":cg".
package apply

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"clinicgate/netd/plan"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kernel is the network namespace that plans are applied to. Not safe for
// concurrent use.
type Kernel struct {
	h *netlink.Handle
}

// Open returns the network namespace of the calling thread.
func Open() (*Kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Kernel{h: h}, nil
}

// Close gives the sockets back; the kernel keeps its state.
func (k *Kernel) Close() { k.h.Close() }

// Result says what an Apply did.
type Result struct {
	Changes []string // what was changed, as `ip` would be told
	Missing []string // devices that are not there, and what was passed over for want of one
}

// Apply brings the kernel to the wanted state. It goes as far as it can: an error
// about one thing, which is all in the joined error, keeps nothing else back.
//
// The order keeps packets moving: a route is replaced in place; new rules and
// routes are there before old ones go. Only old addresses go first, since an old
// primary address would take a new one of its network along. Stop anywhere: the
// next Apply does the rest.
func (k *Kernel) Apply(want plan.Kernel) (Result, error) { return k.apply(want, false) }

// Add is Apply without removing anything: for a netd that has just started and
// does not know yet all that the one before it knew.
func (k *Kernel) Add(want plan.Kernel) (Result, error) { return k.apply(want, true) }

func (k *Kernel) apply(want plan.Kernel, keep bool) (Result, error) {
	w := &work{h: k.h, links: map[string]netlink.Link{}}
	w.findLinks(want)
	have, err := w.ours()
	if err != nil {
		return w.res, err
	}
	want = w.present(want)
	w.setLinks(want.Links)
	if !keep {
		w.dropAddrs(want, have)
	}
	w.addAddrs(want, have)
	w.addRoutes(want, have)
	w.addRules(want, have)
	w.setQueues(want.Queues, keep)
	if !keep {
		w.dropRules(want, have)
		w.dropRoutes(want, have)
		w.dropLinks(want)
	}
	return w.res, errors.Join(w.errs...)
}

// work is one Apply under way.
type work struct {
	h     *netlink.Handle
	links map[string]netlink.Link
	res   Result
	errs  []error
}

// vanished reports whether a port went away or lost its cable since the ports were
// looked at: it is missing then, as if it had done so earlier, and its news leads to
// the next Apply.
func vanished(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV)
}

// do notes the outcome of one change.
func (w *work) do(act string, err error) {
	if vanished(err) {
		w.res.Missing = append(w.res.Missing, act)
		return
	}
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", act, err))
		return
	}
	w.res.Changes = append(w.res.Changes, act)
}

func (w *work) findLinks(want plan.Kernel) {
	for _, l := range want.Links {
		link, err := w.h.LinkByName(l.Dev)
		if l.Tag.VLAN > 0 {
			if err != nil {
				link = nil
			}
			if link, err = w.makeLink(l, link); err != nil {
				w.errs = append(w.errs, err)
			}
		}
		if err != nil || link == nil {
			w.res.Missing = append(w.res.Missing, l.Dev)
			continue
		}
		w.links[l.Dev] = link
	}
}

// present returns the part of want whose devices exist.
func (w *work) present(want plan.Kernel) plan.Kernel {
	gone := func(dev string) bool { return dev != "" && w.links[dev] == nil }
	return plan.Kernel{
		Links: slices.DeleteFunc(slices.Clone(want.Links), func(l plan.Link) bool { return gone(l.Dev) }),
		Addrs: slices.DeleteFunc(slices.Clone(want.Addrs), func(a plan.Addr) bool { return gone(a.Dev) }),
		Routes: slices.DeleteFunc(slices.Clone(want.Routes), func(r plan.Route) bool {
			return gone(r.Dev) || slices.ContainsFunc(r.Hops[:], func(h plan.Hop) bool { return gone(h.Dev) })
		}),
		Rules:  want.Rules,
		Queues: want.Queues,
	}
}

func (w *work) setLinks(links []plan.Link) {
	for _, l := range links {
		attrs := w.links[l.Dev].Attrs()
		if l.MTU > 0 && attrs.MTU != l.MTU {
			w.do(fmt.Sprintf("set link %s mtu %d", l.Dev, l.MTU), w.h.LinkSetMTU(w.links[l.Dev], l.MTU))
		}
		if attrs.RawFlags&unix.IFF_UP == 0 {
			w.do("set link "+l.Dev+" up", w.h.LinkSetUp(w.links[l.Dev]))
		}
	}
}

func (w *work) dropAddrs(want plan.Kernel, have state) {
	for _, a := range have.addrs {
		if !slices.Contains(want.Addrs, a.plan) {
			w.do("del "+a.plan.String(), w.dropAddr(a))
		}
	}
}

func (w *work) addAddrs(want plan.Kernel, have state) {
	for _, a := range want.Addrs {
		if slices.ContainsFunc(have.addrs, func(h addr) bool { return h.plan == a }) {
			continue
		}
		err := w.addAddr(a)
		if errors.Is(err, unix.EEXIST) {
			continue // someone else gave it to the port: it is there, and not ours to change
		}
		w.do("add "+a.String(), err)
	}
}

func (w *work) addAddr(a plan.Addr) error {
	if a.Prefix.Addr().Is6() {
		return change6(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, w.links[a.Dev].Attrs().Index, a)
	}
	raw := &netlink.Addr{IPNet: ipNet(a.Prefix), Label: a.Dev + label}
	if a.NoRoute {
		raw.Flags = unix.IFA_F_NOPREFIXROUTE
	}
	return w.h.AddrAdd(w.links[a.Dev], raw)
}

func (w *work) dropAddr(a addr) error {
	if a.plan.Prefix.Addr().Is6() {
		return change6(unix.RTM_DELADDR, 0, a.index, a.plan)
	}
	return w.h.AddrDel(nil, &a.raw)
}

func (w *work) addRoutes(want plan.Kernel, have state) {
	for _, r := range want.Routes {
		if slices.ContainsFunc(have.routes, func(h route) bool { return h.plan == r }) {
			continue
		}
		raw := w.routeFrom(r)
		if slices.ContainsFunc(have.routes, func(h route) bool { return sameKey(h.plan, r) }) {
			w.do("replace "+r.String(), w.h.RouteReplace(raw))
			continue
		}
		// Refused by the kernel when someone else's route has this very key.
		w.do("add "+r.String(), w.h.RouteAdd(raw))
	}
}

// sameKey reports whether the kernel could not hold both routes.
func sameKey(a, b plan.Route) bool {
	return a.Table == b.Table && a.Dst == b.Dst && a.Metric == b.Metric
}

func (w *work) dropRoutes(want plan.Kernel, have state) {
	for _, r := range have.routes {
		if slices.ContainsFunc(want.Routes, func(p plan.Route) bool { return sameKey(p, r.plan) }) {
			continue // wanted, or replaced above
		}
		err := w.h.RouteDel(&r.raw)
		if errors.Is(err, unix.ESRCH) {
			continue // went with its address
		}
		w.do("del "+r.plan.String(), err)
	}
}

func (w *work) addRules(want plan.Kernel, have state) {
	for _, r := range want.Rules {
		if !slices.ContainsFunc(have.rules, func(h rule) bool { return h.plan == r }) {
			w.do("add "+r.String(), w.h.RuleAdd(ruleFrom(r)))
		}
	}
}

func (w *work) dropRules(want plan.Kernel, have state) {
	for _, r := range have.rules {
		if !slices.Contains(want.Rules, r.plan) {
			w.do("del "+r.plan.String(), w.h.RuleDel(&r.raw))
		}
	}
}

// Forget deletes the tracked connections that leave by a dead uplink: those with its
// mark, and those without any whose answers come back to its address. Two modems may
// have given the same address: another uplink's mark keeps a connection. Their next
// packet is a new connection through the uplink in use; what can't survive that is
// reset by its server at once rather than left hanging. It returns how many went, and
// those of TCP among them, some thousands at most.
func (k *Kernel) Forget(mark uint32, a plan.Addr) (uint, []Connection, error) {
	l := &leaver{mark: mark, own: a.Prefix.Addr()}
	n, err := k.h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, l)
	if err != nil {
		return n, l.tcp, fmt.Errorf("forget connections through %s: %w", a.Dev, err)
	}
	return n, l.tcp, nil
}

// A Connection is a TCP connection that was forgotten, as it was opened.
type Connection struct {
	From, To netip.AddrPort
}

// maxNoted bounds the memory for a table that is full of them.
const maxNoted = 4096

// A leaver matches what Forget deletes.
type leaver struct {
	mark uint32
	own  netip.Addr
	tcp  []Connection
}

// MatchConntrackFlow is netlink.CustomConntrackFilter's.
func (l *leaver) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	leaves := address(f.Reverse.DstIP) == l.own
	if by := f.Mark & plan.MarkMask; by != 0 {
		leaves = by == l.mark
	}
	if leaves && f.Forward.Protocol == unix.IPPROTO_TCP && len(l.tcp) < maxNoted {
		l.tcp = append(l.tcp, Connection{
			From: netip.AddrPortFrom(address(f.Forward.SrcIP), f.Forward.SrcPort), To: netip.AddrPortFrom(address(f.Forward.DstIP), f.Forward.DstPort),
		})
	}
	return leaves
}

// label marks addresses as ours: the address label is the device's name and this.
const label = ":cg"

func isOurs(a netlink.Addr) bool { return strings.HasSuffix(a.Label, label) }
