// Package leases decides which device has which address: the server side of
// RFC 2131, without its packets, its clock and its disk. It guarantees that no
// address is given to a second device while a first may still think it has it,
// also when the box restarts with any clock, and in a pair when the other box gave
// the time that runs.
//
// A pair keeps that promise without a word between the boxes. Each gives new
// addresses from its half of the pool only. Any of the two honours what a device
// says it has from the other, if nobody else has it. And a box that becomes master
// takes each lease that it knows of to be alive for as long as it was given for:
// the other may have renewed it a moment ago. The same rule holds for leases read
// from disk.
package leases

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"clinicgate/netd/config"
)

// Lease is one device's address, as it is stored.
type Lease struct {
	Address netip.Addr    `json:"address"`
	ID      string        `json:"id"` // client identifier in hex, or "01" and the MAC
	MAC     config.MAC    `json:"mac"`
	Name    string        `json:"name,omitempty"` // what the device calls itself
	Given   time.Time     `json:"given"`
	Time    time.Duration `json:"time"` // for which it was given
	Over    bool          `json:"over,omitempty"`
}

// Expiry is when the device must have stopped using the address.
func (l Lease) Expiry() time.Time { return l.Given.Add(l.Time) }

// state of an address that is not free.
type state int

const (
	offered state = iota
	leased        // here, or by the pair's other box
	foreign       // somebody uses it without a lease
)

// entry is what is known of one address. It stays after its time, for the device
// that comes back, until another needs the address.
type entry struct {
	Lease
	state state
	until time.Time // nobody else may have it before
	sure  time.Time // before, it is this device's by this box's own word
}

// Times of an address.
const (
	offerTime   = 30 * time.Second // to accept an offer
	shortOffer  = 2 * time.Second  // ... when there is no other address left
	foreignTime = 10 * time.Minute // before somebody else's is tried again
	// A device that is new has to show that it is still there before it gets the
	// whole time: an attacker who invents devices holds the pool for no longer.
	newTime = 10 * time.Minute
)

// Table is the state of one zone. It is not safe for concurrent use.
type Table struct {
	net      config.Addresses
	own      []netip.Addr // the box's, and the pair's
	reserved map[netip.Addr]config.Reservation
	byMAC    map[config.MAC]config.Reservation
	byAddr   map[netip.Addr]*entry
	byID     map[string]*entry
	answers  bool // this box answers; else it listens and learns
	trouble  trouble
}

// New returns a table without leases that answers nobody.
func New(net config.Addresses) *Table {
	t := &Table{
		net: net, own: []netip.Addr{net.Own.Addr(), net.Gateway},
		reserved: map[netip.Addr]config.Reservation{}, byMAC: map[config.MAC]config.Reservation{},
		byAddr: map[netip.Addr]*entry{}, byID: map[string]*entry{},
	}
	for _, r := range net.Reservations {
		t.reserved[r.Address] = r
		t.byMAC[r.MAC] = r
	}
	return t
}

// Load takes in what was stored. How long the box was off, and whether its clock
// was right, nobody knows: each lease counts as given now.
func (t *Table) Load(all []Lease, now time.Time) {
	for _, l := range all {
		if !t.fits(l.Address) || l.ID == "" || len(l.ID) > maxID || l.Time <= 0 || l.Time > maxTime {
			continue // the site file is another by now, or the disk tells nonsense
		}
		e := t.put(l, leased, now.Add(l.Time))
		if l.Over {
			e.until = now
		}
	}
}

// Bounds of what a stored lease may say.
const (
	maxID   = 2 * 255
	maxTime = 7 * 24 * time.Hour
)

// Answer says whether this box answers. When it begins to, every lease may have
// been renewed by the other box just before.
func (t *Table) Answer(yes bool, now time.Time) {
	if yes && !t.answers {
		for _, e := range t.byAddr {
			if again := now.Add(max(e.Time, t.net.Lease)); e.state == leased && again.After(e.until) {
				e.until = again
			}
		}
	}
	t.answers = yes
}

// Answers reports whether this box answers.
func (t *Table) Answers() bool { return t.answers }

// All returns the leases that are remembered, by address; those that are over too.
func (t *Table) All() []Lease {
	var all []Lease
	for _, e := range t.byAddr {
		if e.state == leased {
			all = append(all, e.Lease)
		}
	}
	slices.SortFunc(all, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return all
}

// Counts returns how many addresses of the pool are in use and how many it has.
// Reserved ones count where the pool contains them.
func (t *Table) Counts(now time.Time) (used, size int) {
	for a := t.net.First; a.Compare(t.net.Last) <= 0; a = a.Next() {
		size++
		if e := t.byAddr[a]; e != nil && now.Before(e.until) {
			used++
		}
	}
	return used, size
}

// Reservation returns the reservation of an address, if it has one.
func (t *Table) Reservation(a netip.Addr) (config.Reservation, bool) {
	r, ok := t.reserved[a]
	return r, ok
}

// fits reports whether a device may have the address at all.
func (t *Table) fits(a netip.Addr) bool {
	_, reserved := t.reserved[a]
	return a.IsValid() && !slices.Contains(t.own, a) && (reserved || within(a, t.net.First, t.net.Last))
}

func within(a, first, last netip.Addr) bool { return a.Compare(first) >= 0 && a.Compare(last) <= 0 }

// put makes an address a device's, and takes from the device what it had.
func (t *Table) put(l Lease, s state, until time.Time) *entry {
	if old := t.byID[l.ID]; old != nil && old.Address != l.Address {
		t.drop(old)
	}
	if old := t.byAddr[l.Address]; old != nil {
		t.drop(old)
	}
	e := &entry{Lease: l, state: s, until: until}
	t.byAddr[l.Address], t.byID[l.ID] = e, e
	return e
}

func (t *Table) drop(e *entry) {
	delete(t.byAddr, e.Address)
	if t.byID[e.ID] == e {
		delete(t.byID, e.ID)
	}
}

// may reports whether a device may have an address now: nobody else has it or it
// is reserved for another. Of two client identifiers on one Ethernet address, both
// are the reservation's device.
func (t *Table) may(id string, mac config.MAC, a netip.Addr, now time.Time) bool {
	if !t.fits(a) {
		return false
	}
	if r, reserved := t.reserved[a]; reserved && r.MAC != mac {
		return false
	}
	e := t.byAddr[a]
	if e == nil || e.ID == id && e.state != foreign || !now.Before(e.until) {
		return true
	}
	_, reserved := t.reserved[a]
	return reserved && e.MAC == mac && e.state != foreign
}

// choose returns the address to offer a device. False: there is none.
func (t *Table) choose(q Question, now time.Time) (netip.Addr, bool) {
	if r, ok := t.byMAC[q.MAC]; ok && t.may(q.ID, q.MAC, r.Address, now) {
		return r.Address, true
	}
	first, last := t.net.Mine()
	// What it had from the other half the other box may have given away since.
	if e := t.byID[q.ID]; e != nil && (within(e.Address, first, last) || now.Before(e.sure)) && t.may(q.ID, q.MAC, e.Address, now) {
		return e.Address, true
	}
	if within(q.Wanted, first, last) && t.byAddr[q.Wanted] == nil && t.may(q.ID, q.MAC, q.Wanted, now) {
		return q.Wanted, true
	}
	if a, ok := t.unused(q, now); ok {
		return a, true
	}
	return t.oldest(q, now)
}

// unused looks for an address that nobody ever had, from a place that depends on
// the device: its address is the same when nothing is remembered of it.
func (t *Table) unused(q Question, now time.Time) (netip.Addr, bool) {
	first, last := t.net.Mine()
	var all []netip.Addr
	for a := first; a.Compare(last) <= 0; a = a.Next() {
		all = append(all, a)
	}
	from := int(hash(q.MAC) % uint32(len(all)))
	for i := range all {
		a := all[(from+i)%len(all)]
		if t.byAddr[a] == nil && t.may(q.ID, q.MAC, a, now) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// oldest takes the address whose time has been over for longest, or else an offer
// that was not accepted at once.
func (t *Table) oldest(q Question, now time.Time) (netip.Addr, bool) {
	first, last := t.net.Mine()
	var best *entry
	for _, e := range t.byAddr {
		late := e.state == offered && now.Sub(e.until.Add(-offerTime)) >= shortOffer
		if !within(e.Address, first, last) || !late && !t.may(q.ID, q.MAC, e.Address, now) {
			continue
		}
		if _, reserved := t.reserved[e.Address]; reserved {
			continue
		}
		if best == nil || e.until.Before(best.until) || e.until.Equal(best.until) && e.Address.Less(best.Address) {
			best = e
		}
	}
	if best == nil {
		return netip.Addr{}, false
	}
	return best.Address, true
}

// hash is FNV-1a.
func hash(m config.MAC) uint32 {
	h := uint32(2166136261)
	for _, b := range m {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// compare is for sorting by device.
func compare(a, b config.MAC) int { return bytes.Compare(a[:], b[:]) }
