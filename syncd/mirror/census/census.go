// Package census compares what the two boxes of a pair know, and decides what
// follows. It guarantees that telling the other box what Lacks returns, and hearing
// the same from it, leaves both with the same items in the same standing, whatever
// each knew before and however often it is done.
//
// The names of items are spread evenly (they are keyed digests), so items are
// counted in Buckets by the first byte of the name. Boxes exchange one digest for
// each bucket; of those that differ the other box lists its items, and this one
// tells what that list lacks. Nothing is ever taken away by comparing: what the
// other box alone knows, it tells itself.
package census

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// Buckets is how many parts the names are compared in.
const Buckets = 256

// Name is an item's in both boxes.
type Name [16]byte

// Row is one item as the boxes compare it.
type Row struct {
	Name Name
	Rank uint64 // of how far it has come: where two differ, the higher one holds
}

// Digest is one for each bucket. The rows of a bucket add up, so that their order
// is of no matter; an empty one is zero.
type Digest [Buckets]uint64

// Count makes the digest of all rows.
func Count(rows []Row) (d Digest) {
	for _, r := range rows {
		h := fnv.New64a()
		h.Write(r.append(nil)) // never fails
		d[r.Name[0]] += mix(h.Sum64())
	}
	return d
}

// mix spreads a hash over all bits (splitmix64), so that sums don't meet by chance.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Differ says in which buckets two boxes differ.
func Differ(a, b Digest) (which [Buckets]bool) {
	for i := range which {
		which[i] = a[i] != b[i]
	}
	return which
}

// In returns the rows that lie in those buckets.
func In(which [Buckets]bool, rows []Row) (some []Row) {
	for _, r := range rows {
		if which[r.Name[0]] {
			some = append(some, r)
		}
	}
	return some
}

// Lack is what the other box is to be told of an item.
type Lack struct {
	Name  Name
	Whole bool // it hasn't the item; else it knows less of how far it has come
}

// Lacks lists what the other box lacks of mine, when theirs is all it has in which.
func Lacks(which [Buckets]bool, mine, theirs []Row) (all []Lack) {
	have := make(map[Name]Row, len(theirs))
	for _, r := range theirs {
		have[r.Name] = r
	}
	for _, r := range In(which, mine) {
		t, ok := have[r.Name]
		if !ok || r.Rank > t.Rank {
			all = append(all, Lack{Name: r.Name, Whole: !ok})
		}
	}
	return all
}

const (
	digestSize = 8 * Buckets
	rowSize    = 16 + 8
)

// MaxRows bounds a list; a queue of so many items would fill any disk of a box.
const MaxRows = 4 << 20

// ErrForm is the error for bytes that are no digest and no list.
var ErrForm = errors.New("census: malformed")

// Append appends the digest as it is sent.
func (d *Digest) Append(b []byte) []byte {
	for _, x := range d {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return b
}

// ReadDigest reads what Append wrote.
func ReadDigest(b []byte) (d Digest, err error) {
	if len(b) != digestSize {
		return d, fmt.Errorf("%w: digest of %d bytes, want %d", ErrForm, len(b), digestSize)
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return d, nil
}

func (r Row) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, r.Name[:]...), r.Rank)
}

// A List is the answer to a digest: which buckets differ, and all that lies there.
type List struct {
	Which [Buckets]bool
	Rows  []Row
}

// Answer is a box's to the other one's digest.
func Answer(theirs Digest, mine []Row) List {
	which := Differ(theirs, Count(mine))
	return List{Which: which, Rows: In(which, mine)}
}

// Append appends the list as it is sent: a bit for each bucket, then the rows.
func (l *List) Append(b []byte) []byte {
	var bits [Buckets / 8]byte
	for i, set := range l.Which {
		if set {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	b = append(b, bits[:]...)
	for _, r := range l.Rows {
		b = r.append(b)
	}
	return b
}

// ReadList reads what Append wrote.
func ReadList(b []byte) (l List, err error) {
	const front = Buckets / 8
	if len(b) < front || (len(b)-front)%rowSize != 0 || (len(b)-front)/rowSize > MaxRows {
		return l, fmt.Errorf("%w: list of %d bytes", ErrForm, len(b))
	}
	for i := range l.Which {
		l.Which[i] = b[i/8]&(1<<(i%8)) != 0
	}
	for b = b[front:]; len(b) > 0; b = b[rowSize:] {
		r := Row{Name: Name(b[:16]), Rank: binary.BigEndian.Uint64(b[16:])}
		if !l.Which[r.Name[0]] {
			return List{}, fmt.Errorf("%w: an item of bucket %d, which is not listed", ErrForm, r.Name[0])
		}
		l.Rows = append(l.Rows, r)
	}
	return l, nil
}
