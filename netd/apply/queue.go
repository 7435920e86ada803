package apply

import (
	"errors"
	"fmt"
	"slices"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setQueues makes the devices' queues as wanted. One that somebody else has put on a
// device is left alone, and said to be in the way.
func (w *work) setQueues(want []plan.Queue, keep bool) {
	for dev, link := range w.links {
		i := slices.IndexFunc(want, func(q plan.Queue) bool { return q.Dev == dev })
		if i < 0 && keep {
			continue
		}
		root, err := w.rootOf(link)
		switch ours := root != nil && isQueue(root); {
		case err != nil:
			w.errs = append(w.errs, err)
		case i >= 0 && !ours && root != nil && root.Attrs().Handle != netlink.HANDLE_NONE:
			w.errs = append(w.errs, fmt.Errorf("add %s: somebody else's %s is there", want[i], root.Type()))
		case i >= 0:
			w.queue(want[i], link, ours)
		case ours:
			w.do("del queue dev "+dev, w.h.QdiscDel(root))
		}
	}
}

// rootOf returns the device's root discipline. What the kernel gave it by itself has
// handle 0.
func (w *work) rootOf(link netlink.Link) (netlink.Qdisc, error) {
	all, err := dump(func() ([]netlink.Qdisc, error) { return w.h.QdiscList(link) })
	if err != nil {
		return nil, fmt.Errorf("list queues of %s: %w", link.Attrs().Name, err)
	}
	for _, q := range all {
		if q.Attrs().Parent == netlink.HANDLE_ROOT {
			return q, nil
		}
	}
	return nil, nil
}

func handle(minor uint16) uint32 { return netlink.MakeHandle(plan.QueueMajor, minor) }

func isQueue(q netlink.Qdisc) bool { return q.Type() == "htb" && q.Attrs().Handle == handle(0) }

// queue makes one, or puts right what of it is wrong. Stop within: what has no class
// yet leaves unshaped, and the next Apply does the rest.
func (w *work) queue(q plan.Queue, link netlink.Link, there bool) {
	index := link.Attrs().Index
	if !there {
		root := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: index, Handle: handle(0), Parent: netlink.HANDLE_ROOT})
		root.Defcls = uint32(plan.QueueClass(slices.Index(names(), config.Office)))
		if err := w.h.QdiscAdd(root); err != nil {
			w.do("add "+q.String(), err)
			return
		}
	}
	have, err := dump(func() ([]netlink.Class, error) { return w.h.ClassList(link, netlink.HANDLE_NONE) })
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("list classes of %s: %w", q.Dev, err))
		return
	}
	changed := !there
	for _, want := range classes(q, index) {
		same := func(c netlink.Class) bool {
			h, ok := c.(*netlink.HtbClass)
			return ok && h.Handle == want.Handle && h.Rate == want.Rate && h.Ceil == want.Ceil && h.Prio == want.Prio
		}
		if slices.ContainsFunc(have, same) {
			continue
		}
		if err := w.h.ClassReplace(want); err != nil {
			w.do("add "+q.String(), err)
			return
		}
		changed = true
	}
	if w.leaves(link, index) || changed {
		w.do("add "+q.String(), nil)
	}
}

func names() []string {
	all := config.ClassNames()
	return all[:]
}

// classes are the queue's: the whole rate, and below it each class's part of it.
func classes(q plan.Queue, index int) []*netlink.HtbClass {
	class := func(minor, parent uint32, rate int64, prio int) *netlink.HtbClass {
		return netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: index, Handle: minor, Parent: parent},
			netlink.HtbClassAttrs{Rate: uint64(rate), Ceil: uint64(q.Rate), Prio: uint32(prio), Quantum: 1514})
	}
	all := []*netlink.HtbClass{class(handle(plan.QueueRoot), handle(0), q.Rate, 0)}
	for k := range names() {
		all = append(all, class(handle(plan.QueueClass(k)), handle(plan.QueueRoot), q.Rate*plan.Guarantee(k)/100, k))
	}
	return all
}

// leaves has each class share its turn among its flows, and reports whether it had to
// be made so. A kernel without fq_codel keeps the plain queues that classes begin with.
func (w *work) leaves(link netlink.Link, index int) bool {
	have, err := dump(func() ([]netlink.Qdisc, error) { return w.h.QdiscList(link) })
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("list queues of %s: %w", link.Attrs().Name, err))
		return false
	}
	made := false
	for k := range names() {
		parent := handle(plan.QueueClass(k))
		if slices.ContainsFunc(have, func(q netlink.Qdisc) bool { return q.Attrs().Parent == parent && q.Type() == "fq_codel" }) {
			continue
		}
		err := w.h.QdiscAdd(netlink.NewFqCodel(netlink.QdiscAttrs{
			LinkIndex: index, Parent: parent, Handle: netlink.MakeHandle(plan.QueueMajor<<8|plan.QueueClass(k), 0),
		}))
		switch {
		case err == nil:
			made = true
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP):
			w.errs = append(w.errs, fmt.Errorf("add fq_codel to %s: %w", link.Attrs().Name, err))
		}
	}
	return made
}
