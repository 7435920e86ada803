// Package crowd knows by which paths each box can be reached, as the fan at a hub
// sees it. It is pure. Its memory is bounded: by the boxes that the hub knows and
// the uplinks that a box may have.
package crowd

import (
	"net/netip"
	"time"

	"clinicgate/netd/notice"
)

// maxPaths is how many paths of one box count: its uplinks, and what a NAT that
// forgets makes of them within their life.
const maxPaths = 16

// Path is one way to a box.
type Path struct {
	At        netip.AddrPort // where the box is seen
	All       bool           // it wants a copy of every datagram by this path
	Small     int            // ... and so many of a small one
	Datagrams uint64         // received by it
	Bytes     uint64
	notice    time.Time
}

// Box is a WireGuard peer that gives notice.
type Box struct {
	Key   notice.Key
	paths []Path
}

// Table is all boxes. Not safe for concurrent use.
type Table struct {
	boxes []*Box
	byID  map[[8]byte]*Box
	byAt  map[netip.AddrPort]*Box
}

// New makes a table of the boxes with these keys.
func New(keys []notice.Key) *Table {
	t := &Table{byID: map[[8]byte]*Box{}, byAt: map[netip.AddrPort]*Box{}}
	for _, k := range keys {
		b := &Box{Key: k}
		t.boxes = append(t.boxes, b)
		t.byID[k.ID()] = b
	}
	return t
}

// Claimed returns the box that a notice says it is from, nil: none that is known.
func (t *Table) Claimed(id [8]byte) *Box { return t.byID[id] }

// At returns the box that gave notice from an address, nil: none did lately.
func (t *Table) At(at netip.AddrPort) *Box { return t.byAt[at] }

// Noticed takes in an authentic notice that carried the right nonce.
func (t *Table) Noticed(b *Box, at netip.AddrPort, n notice.Notice, now time.Time) {
	t.forget(b, now)
	p := b.path(at)
	if p == nil {
		if len(b.paths) == maxPaths {
			delete(t.byAt, b.paths[0].At)
			b.paths = b.paths[1:]
		}
		b.paths = append(b.paths, Path{At: at})
		p = &b.paths[len(b.paths)-1]
	}
	p.All, p.Small, p.notice = n.All, int(min(n.Small, 4)), now
	if old := t.byAt[at]; old != nil && old != b {
		old.drop(at) // two boxes behind one NAT, and the port was used again
	}
	t.byAt[at] = b
}

// forget drops the paths that gave no notice for too long.
func (t *Table) forget(b *Box, now time.Time) {
	var live []Path
	for _, p := range b.paths {
		if now.Sub(p.notice) < notice.Life {
			live = append(live, p)
		} else if t.byAt[p.At] == b {
			delete(t.byAt, p.At)
		}
	}
	b.paths = live
}

// Paths returns where the datagrams for a box go now.
func (t *Table) Paths(b *Box, now time.Time) []Path {
	t.forget(b, now)
	return b.paths
}

// Count notes what was received from an address of a box.
func (b *Box) Count(at netip.AddrPort, datagrams, bytes int) {
	if p := b.path(at); p != nil {
		p.Datagrams += uint64(datagrams)
		p.Bytes += uint64(bytes)
	}
}

// Received returns the counts of an address.
func (b *Box) Received(at netip.AddrPort) (datagrams, bytes uint64) {
	if p := b.path(at); p != nil {
		return p.Datagrams, p.Bytes
	}
	return 0, 0
}

func (b *Box) path(at netip.AddrPort) *Path {
	for i := range b.paths {
		if b.paths[i].At == at {
			return &b.paths[i]
		}
	}
	return nil
}

func (b *Box) drop(at netip.AddrPort) {
	for i := range b.paths {
		if b.paths[i].At == at {
			b.paths = append(b.paths[:i], b.paths[i+1:]...)
			return
		}
	}
}
