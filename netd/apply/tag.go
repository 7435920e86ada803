package apply

import (
	"fmt"
	"slices"

	"clinicgate/netd/plan"

	"github.com/vishvananda/netlink"
)

// alias marks tagged devices as ours: `ip link` shows it.
const alias = "clinicgate"

// makeLink makes the tagged device l, unless it is there. One of that name that is
// something else is not ours to change.
func (w *work) makeLink(l plan.Link, have netlink.Link) (netlink.Link, error) {
	parent := w.links[l.Tag.Parent]
	if have != nil {
		if vlan, ok := have.(*netlink.Vlan); ok && vlan.VlanId == l.Tag.VLAN && (parent == nil || vlan.ParentIndex == parent.Attrs().Index) {
			return have, nil
		}
		return nil, fmt.Errorf("make link %s: someone else has made a device of that name, which is not VLAN %d of %s", l.Dev, l.Tag.VLAN, l.Tag.Parent)
	}
	if parent == nil {
		return nil, nil // its port is missing
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Alias = l.Dev, parent.Attrs().Index, alias
	err := w.h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: l.Tag.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	w.do(fmt.Sprintf("make link %s vlan %d of %s", l.Dev, l.Tag.VLAN, l.Tag.Parent), err)
	if err != nil {
		return nil, nil // noted
	}
	return w.h.LinkByName(l.Dev)
}

// dropLinks removes tagged devices of ours that no one wants any more, and with
// them what they carry.
func (w *work) dropLinks(want plan.Kernel) {
	links, err := dump(w.h.LinkList)
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("list links: %w", err))
		return
	}
	for _, l := range links {
		a := l.Attrs()
		wanted := slices.ContainsFunc(want.Links, func(p plan.Link) bool { return p.Dev == a.Name })
		if l.Type() == "vlan" && a.Alias == alias && !wanted {
			w.do("del link "+a.Name, w.h.LinkDel(l))
		}
	}
}
