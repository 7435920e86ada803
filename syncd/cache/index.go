package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"clinicgate/syncd/segment"
)

// An index maps blind names to the places of records. It is derived: whatever is
// wrong with it costs a scan of the log, never an answer.
//
//	places  name → Ref ‖ size
//	about   "format", "owner" (blind name of a constant: another key is another index),
//	        "upto" (the last record looked at), "open" (there while it is in use)
type index struct {
	db *bbolt.DB
}

var (
	bucketPlaces = []byte("places")
	bucketAbout  = []byte("about")
	keyFormat    = []byte("format")
	keyOwner     = []byte("owner")
	keyUpto      = []byte("upto")
	keyOpen      = []byte("open")
)

const indexFormat = "1"

var errIndex = errors.New("index is not usable")

// A place is where a name's record lies.
type place struct {
	ref  segment.Ref
	size int64 // of the record
}

// A change is one name's new place, or none.
type change struct {
	place
	gone bool
}

// openIndex opens the index at path if it can be trusted, and marks it open. A
// file that bbolt would panic on is found by its own checker first; that is
// needed only when the last run did not close it.
func openIndex(path string, owner name) (ix *index, err error) {
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
	ix = &index{db}
	return ix, db.Update(func(tx *bbolt.Tx) error {
		about, err := tx.CreateBucketIfNotExists(bucketAbout)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketPlaces); err != nil {
			return err
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

// upto is the last record the index knows of; zero: none.
func (ix *index) upto() (ref segment.Ref, err error) {
	err = ix.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketAbout).Get(keyUpto); v != nil {
			var err error
			ref, err = segment.DecodeRef(v)
			return err
		}
		return nil
	})
	return ref, err
}

func (ix *index) get(n name) (p place, ok bool, err error) {
	err = ix.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketPlaces).Get(n[:])
		if v == nil {
			return nil
		}
		ok = true
		var err error
		p, err = decodePlace(v)
		return err
	})
	return p, ok, err
}

// apply makes changes durable together with how far they go.
//
//	stop before the commit: the old index; the log behind its upto is read again
//	stop after: the new one
func (ix *index) apply(changes map[name]change, upto segment.Ref) error {
	return ix.db.Update(func(tx *bbolt.Tx) error {
		places := tx.Bucket(bucketPlaces)
		for n, c := range changes {
			var err error
			if c.gone {
				err = places.Delete(n[:])
			} else {
				err = places.Put(n[:], encodePlace(c.place))
			}
			if err != nil {
				return err
			}
		}
		mark, err := upto.AppendBinary(nil)
		if err != nil {
			return err
		}
		return tx.Bucket(bucketAbout).Put(keyUpto, mark)
	})
}

// each calls fn for every place.
func (ix *index) each(fn func(name, place)) error {
	return ix.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPlaces).ForEach(func(k, v []byte) error {
			p, err := decodePlace(v)
			if err != nil || len(k) != len(name{}) {
				return errIndex
			}
			fn(name(k), p)
			return nil
		})
	})
}

// close marks the index whole and closes it.
func (ix *index) close() error {
	err := ix.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketAbout).Delete(keyOpen) })
	return errors.Join(err, ix.db.Close())
}

func encodePlace(p place) []byte {
	b, _ := p.ref.AppendBinary(nil) // never fails
	return binary.BigEndian.AppendUint64(b, uint64(p.size))
}

func decodePlace(v []byte) (place, error) {
	if len(v) != segment.RefSize+8 {
		return place{}, errIndex
	}
	ref, err := segment.DecodeRef(v)
	return place{ref, int64(binary.BigEndian.Uint64(v[segment.RefSize:]))}, err
}

// removeIndex takes a bad index away.
func removeIndex(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
