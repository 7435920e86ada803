package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/port"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// Faults that what is heard on the network can raise; port.Faults has the others.
const (
	faultBadAdvert = "pair.bad-advert"
	faultForeign   = "pair.foreign-advert"
	faultInterval  = "pair.interval-differs"
	faultRival     = "pair.two-masters"
	faultStranger  = "pair.stranger"
	faultConflict  = "pair.address-conflict"
	faultRogue     = "pair.rogue"
	faultBarred    = "pair.barred"
)

const (
	// takeoverGrace is how long the other box may still speak for an address that
	// this one has taken over.
	takeoverGrace = 3 * time.Second
	// standFor is how long a fault stands after it was last seen.
	standFor = 60 * time.Second
	// rivalAfter is how many advertisements in a row another master may send us
	// before it counts as one that does not hear us.
	rivalAfter = 3
)

// groupFaults states one group's faults and ends those that are seen no more.
type groupFaults struct {
	faults *daemon.Faults
	cfg    config.Group
	where  string
	until  map[string]time.Time
	said   map[string]time.Time // when its words were last said
	rivals int
}

// sayGap is the least time between two wordings of one fault: whoever floods us under
// many names must not flood the log.
const sayGap = 200 * time.Millisecond

func newGroupFaults(f *daemon.Faults, cfg config.Group) *groupFaults {
	return &groupFaults{faults: f, cfg: cfg, where: "group " + cfg.Name, until: map[string]time.Time{}, said: map[string]time.Time{}}
}

func (f *groupFaults) raise(id string, severity wire.Severity, what, do string) {
	now := time.Now()
	if now.Sub(f.said[id]) >= sayGap {
		f.said[id] = now
		f.faults.Raise(wire.Fault{ID: id, Severity: severity, Where: f.where, What: what, Do: do})
	}
	f.until[id] = now.Add(standFor)
}

// expire ends what was not seen for a while.
func (f *groupFaults) expire(now time.Time) {
	for id, end := range f.until {
		if now.After(end) {
			f.clear(id)
		}
	}
}

func (f *groupFaults) clear(id string) {
	if _, stands := f.until[id]; stands {
		f.faults.Clear(id, f.where)
		delete(f.until, id)
		delete(f.said, id)
	}
}

// port states the one fault of the group's port, or that it has none.
func (f *groupFaults) port(fault *wire.Fault) {
	for _, id := range port.Faults {
		if fault == nil || fault.ID != id {
			f.faults.Clear(id, "port "+f.cfg.Port)
		}
	}
	if fault != nil {
		f.faults.Raise(*fault)
	}
}

func (f *groupFaults) refused(err error) {
	f.raise(faultBadAdvert, wire.Warning,
		fmt.Sprintf("a packet on %s was refused: %v", f.cfg.Port, err),
		"find the machine that sends it: it is faulty, or plays at being a gateway")
}

// differs compares what another box says with our own settings. It is obeyed all
// the same, as the RFC has it (§7.1).
func (f *groupFaults) differs(from netip.Addr, m advert.Message, ours []netip.Addr) {
	theirs := slices.SortedFunc(slices.Values(m.Addresses), netip.Addr.Compare)
	if slices.Equal(theirs, slices.SortedFunc(slices.Values(ours), netip.Addr.Compare)) {
		f.clear(faultForeign)
	} else {
		f.raise(faultForeign, wire.Alarm,
			fmt.Sprintf("%v advertises %v under our VRID %d, this box %v", from, theirs, f.cfg.VRID, ours),
			"if it is the pair's other box, give both the same pair.group.addresses; if not, give the group another vrid")
	}
	if m.Interval == f.cfg.Interval || m.Priority == advert.Resign {
		f.clear(faultInterval)
		return
	}
	f.raise(faultInterval, wire.Warning,
		fmt.Sprintf("%v advertises every %v, this box every %v", from, m.Interval, f.cfg.Interval),
		"give both boxes the same pair.group.interval")
}

// stranger is a machine that is not the pair's other box and wants to be gateway.
func (f *groupFaults) stranger(from netip.Addr, m advert.Message) {
	f.raise(faultStranger, wire.Alarm,
		fmt.Sprintf("%v, which is not in peers, advertises under our VRID %d with priority %d; not believed", from, m.VRID, m.Priority),
		"if it is the pair's other box, add its address to pair.group.peers; if not, find the machine: it plays at being the gateway")
}

// rival is another box that goes on as master though it should yield to us.
func (f *groupFaults) rival(from netip.Addr) {
	if f.rivals++; f.rivals >= rivalAfter {
		f.raise(faultRival, wire.Alarm,
			fmt.Sprintf("%v is master too and does not yield to this box", from),
			"it does not hear this box: check the switch between the two (multicast to 224.0.0.18, ff02::12) and that both have the same pair.group")
	}
}

func (f *groupFaults) yielded() {
	f.rivals = 0
	f.clear(faultRival)
}

func (f *groupFaults) conflict(c claim) {
	f.raise(faultConflict, wire.Alarm,
		fmt.Sprintf("another machine, %v, says it has %v", c.mac, c.addr),
		"find the machine with that hardware address and give it another IP address")
}

// rogue is a machine whose advertisements the other box disowns over the cable.
func (f *groupFaults) rogue(r rogue) {
	f.raise(faultRogue, wire.Alarm,
		fmt.Sprintf("%v (%v) advertises under our VRID %d with priority %d; not believed: %s", r.from, r.mac, f.cfg.VRID, r.priority, r.why),
		"find the machine with that hardware address and take it off the network: it plays at being the gateway")
}

// barred is a box that hears no master and may not become it; empty: it may.
func (f *groupFaults) barred(why string) {
	if why == "" {
		f.clear(faultBarred)
		return
	}
	f.raise(faultBarred, wire.Alarm, why,
		"check the cable of "+f.cfg.Port+", and the switch between the boxes: it must let multicast (224.0.0.18, ff02::12) through")
}
