package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// An index maps blind names to the places of records, and lists of what can be
// searched for to blind names. It is derived: whatever is wrong with it costs a scan
// of the log, never an answer.
//
//	places  name → Ref
//	lists   blind name of the list → sealed names, sorted
//	about   "format", "owner" (blind name of a constant: another key is another index),
//	        "upto" (the last record looked at), "sums" (answers and their bytes),
//	        "open" (there while it is in use)
//
// A list is sealed because lengths of lists that contain one another would tell
// names apart by how common they are.
type index struct {
	db     *bbolt.DB
	domain *vault.Domain
}

var (
	bucketPlaces = []byte("places")
	bucketLists  = []byte("lists")
	bucketAbout  = []byte("about")
	keyFormat    = []byte("format")
	keyOwner     = []byte("owner")
	keyUpto      = []byte("upto")
	keySums      = []byte("sums")
	keyOpen      = []byte("open")
)

const indexFormat = "2"

var errIndex = errors.New("index is not usable")

// A change is one name's new place, or none.
type change struct {
	ref  segment.Ref
	gone bool
}

// A batch is what is not yet in the index.
type batch struct {
	places map[short]change
	lists  map[short]map[short]bool // list → name → in it, or out
	upto   segment.Ref              // last record looked at
	count  int
	bytes  int64
}

func newBatch() batch {
	return batch{places: map[short]change{}, lists: map[short]map[short]bool{}}
}

// openIndex opens the index at path if it can be trusted, and marks it open. A
// file that bbolt would panic on is found by its own checker first; that is
// needed only when the last run did not close it.
func openIndex(path string, domain *vault.Domain) (ix *index, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errIndex, r)
		}
		if err != nil {
			ix = nil
			db.Close()
		}
	}()
	ix = &index{db, domain}
	owner := domain.Blind([]byte("clinicgate cache index"))
	return ix, db.Update(func(tx *bbolt.Tx) error {
		about, err := tx.CreateBucketIfNotExists(bucketAbout)
		if err != nil {
			return err
		}
		for _, b := range [][]byte{bucketPlaces, bucketLists} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		if about.Get(keyOpen) != nil {
			for err := range tx.Check() {
				return fmt.Errorf("%w: %w", errIndex, err)
			}
		}
		if about.Get(keyFormat) == nil {
			return errors.Join(about.Put(keyFormat, []byte(indexFormat)), about.Put(keyOwner, owner[:]), about.Put(keyOpen, []byte{1}))
		}
		if string(about.Get(keyFormat)) != indexFormat || !bytes.Equal(about.Get(keyOwner), owner[:]) {
			return fmt.Errorf("%w: of another format or key", errIndex)
		}
		return about.Put(keyOpen, []byte{1})
	})
}

// state reads how far the index goes and what it counts.
func (ix *index) state() (b batch, err error) {
	b = newBatch()
	err = ix.db.View(func(tx *bbolt.Tx) error {
		about := tx.Bucket(bucketAbout)
		if v := about.Get(keySums); len(v) == 16 {
			b.count, b.bytes = int(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))
		}
		if v := about.Get(keyUpto); v != nil {
			var err error
			b.upto, err = segment.DecodeRef(v)
			return err
		}
		return nil
	})
	return b, err
}

func (ix *index) get(n short) (ref segment.Ref, ok bool, err error) {
	err = ix.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketPlaces).Get(n[:])
		if v == nil {
			return nil
		}
		ok = true
		var err error
		ref, err = segment.DecodeRef(v)
		return err
	})
	return ref, ok, err
}

// list returns the names in a list.
func (ix *index) list(l short) (names []short, err error) {
	err = ix.db.View(func(tx *bbolt.Tx) error {
		var err error
		names, err = ix.openList(l, tx.Bucket(bucketLists).Get(l[:]))
		return err
	})
	return names, err
}

func (ix *index) openList(l short, sealed []byte) ([]short, error) {
	if sealed == nil {
		return nil, nil
	}
	text, err := ix.domain.Open(nil, sealed, l[:])
	if err != nil || len(text)%len(short{}) != 0 {
		return nil, fmt.Errorf("%w: a list of it: %w", errIndex, err)
	}
	names := make([]short, 0, len(text)/len(short{}))
	for one := range slices.Chunk(text, len(short{})) {
		names = append(names, short(one))
	}
	return names, nil
}

// apply makes changes durable together with how far they go.
//
//	stop before the commit: the old index; the log behind its upto is read again
//	stop after: the new one
func (ix *index) apply(b batch) error {
	return ix.db.Update(func(tx *bbolt.Tx) error {
		places, lists, about := tx.Bucket(bucketPlaces), tx.Bucket(bucketLists), tx.Bucket(bucketAbout)
		for n, c := range b.places {
			var err error
			if c.gone {
				err = places.Delete(n[:])
			} else {
				place, _ := c.ref.AppendBinary(nil) // never fails
				err = places.Put(n[:], place)
			}
			if err != nil {
				return err
			}
		}
		for l, changes := range b.lists {
			names, err := ix.openList(l, lists.Get(l[:]))
			if err != nil {
				return err
			}
			if err := ix.putList(lists, l, merge(names, changes)); err != nil {
				return err
			}
		}
		mark, err := b.upto.AppendBinary(nil)
		if err != nil {
			return err
		}
		sums := binary.BigEndian.AppendUint64(nil, uint64(b.count))
		return errors.Join(about.Put(keyUpto, mark), about.Put(keySums, binary.BigEndian.AppendUint64(sums, uint64(b.bytes))))
	})
}

func (ix *index) putList(lists *bbolt.Bucket, l short, names []short) error {
	if len(names) == 0 {
		return lists.Delete(l[:])
	}
	text := make([]byte, 0, len(names)*len(short{}))
	for _, n := range names {
		text = append(text, n[:]...)
	}
	return lists.Put(l[:], ix.domain.Seal(nil, text, l[:]))
}

// merge applies changes to a sorted list.
func merge(names []short, changes map[short]bool) []short {
	if len(changes) == 0 {
		return names
	}
	kept := slices.DeleteFunc(slices.Clone(names), func(n short) bool { _, changed := changes[n]; return changed })
	for n, in := range changes {
		if in {
			kept = append(kept, n)
		}
	}
	slices.SortFunc(kept, func(a, b short) int { return bytes.Compare(a[:], b[:]) })
	return kept
}

// rest gives the memory back into which the index has been mapped while it was
// written or looked through. What is needed again comes from the page cache, which
// is not this process's.
func (ix *index) rest() {
	_ = ix.db.View(func(tx *bbolt.Tx) error { // the mapping stays while a reader is in
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, ix.db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// close marks the index whole and closes it.
func (ix *index) close() error {
	err := ix.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketAbout).Delete(keyOpen) })
	return errors.Join(err, ix.db.Close())
}

// removeIndex takes a bad index away.
func removeIndex(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
