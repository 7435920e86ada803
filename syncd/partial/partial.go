// Package partial keeps uploads that come in pieces until they are whole. Its one
// guarantee: the offset it tells is on disk, and bytes are given back as they came
// or not at all, whatever lost power in between.
//
// An upload is a file of sealed frames, each bound to its upload and number. The
// file alone tells how far it got: frames that a stop tore don't open, and they and
// what is behind them never counted.
package partial

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/vault"
)

// Errors that a sender is told about, each in its own protocol's terms.
var (
	ErrUnknown = errors.New("no such upload")
	ErrOffset  = errors.New("not where the upload stands")
	ErrLong    = errors.New("more than was announced")
	ErrBusy    = errors.New("another piece is being written")
	ErrFull    = errors.New("no room for the upload")
	ErrQuota   = errors.New("the sender has too many or too large uploads open")
)

// Limits of a store. The zero value has the defaults.
type Limits struct {
	Uploads  int           // open at once, per owner; 0: 16
	Bytes    int64         // announced by them together; 0: 8 GiB
	KeepFree int64         // left to others on the disk; 0: 256 MiB
	Idle     time.Duration // forgotten when nothing came for so long; 0: 7 days
}

func (l *Limits) defaults() {
	if l.Uploads == 0 {
		l.Uploads = 16
	}
	if l.Bytes == 0 {
		l.Bytes = 8 << 30
	}
	if l.KeepFree == 0 {
		l.KeepFree = 256 << 20
	}
	if l.Idle == 0 {
		l.Idle = 7 * 24 * time.Hour
	}
}

// Outcome is what became of an upload that was whole.
type Outcome struct {
	Item string `json:"item"`           // id of the queue's item
	Held string `json:"held,omitempty"` // why it waits for a person, if it does
}

// Info is an upload as it stands.
type Info struct {
	ID      string
	Owner   string
	Total   int64
	Offset  int64 // bytes that are on disk
	Meta    map[string]string
	Expires time.Time
	Done    *Outcome // nil: not whole, or not handed over yet
}

// Store holds the uploads under a folder. Safe for concurrent use.
type Store struct {
	dir    string
	domain *vault.Domain
	limits Limits

	mu  sync.Mutex
	all map[string]*upload
}

// Open opens the store, and makes its folder if need be. Files that can't be read
// are removed and counted: their senders begin anew.
func Open(dir string, d *vault.Domain, l Limits) (s *Store, lost int, err error) {
	if err := d.Err(); err != nil {
		return nil, 0, fmt.Errorf("partial uploads: %w", err)
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("partial uploads: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("partial uploads: %w", err)
	}
	l.defaults()
	s = &Store{dir: dir, domain: d, limits: l, all: map[string]*upload{}}
	for _, e := range entries {
		id, kind, _ := strings.Cut(e.Name(), ".")
		if id == "" {
			continue // of a write that a stop cut short
		}
		if err := s.load(id, kind); err != nil {
			lost++
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, lost, fmt.Errorf("partial uploads: %w", err)
			}
		}
	}
	return s, lost, nil
}

// load takes one file in. An upload that is done may still have its frames: a stop
// came between the two steps of Finish.
func (s *Store) load(id, kind string) error {
	path := filepath.Join(s.dir, id+"."+kind)
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	u := &upload{id: id, touched: fi.ModTime()}
	switch kind {
	case "done":
		text, err := os.ReadFile(path)
		if err == nil {
			text, err = s.domain.Open(nil, text, []byte(id+" done"))
		}
		if err == nil {
			err = json.Unmarshal(text, &u.done)
		}
		if err != nil {
			return err
		}
		u.head, u.offset = u.done.Head, u.done.Head.Total
		os.Remove(filepath.Join(s.dir, id+".part")) // tried again at the next start
	case "part":
		if s.all[id] != nil && s.all[id].done != nil {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		text, _, err := s.frame(f, id, 0)
		if err == nil {
			err = json.Unmarshal(text, &u.head)
		}
		if err != nil {
			return err
		}
		u.unread = true
	default:
		return errors.New("not a file of this folder")
	}
	s.all[id] = u
	return nil
}

// ID names the upload of an owner; it says nothing of either.
func (s *Store) ID(owner, name string) string {
	sum := s.domain.Blind(fmt.Appendf(nil, "upload\x00%d:%s:%s", len(owner), owner, name))
	return hex.EncodeToString(sum[:16])
}

// Create begins an upload of total bytes, or finds the one that was begun under the
// same name.
func (s *Store) Create(owner, name string, total int64, meta map[string]string, now time.Time) (Info, error) {
	id := s.ID(owner, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.all[id]; u != nil {
		if u.head.Total != total {
			return Info{}, fmt.Errorf("%w: got %d bytes in all, had %d", ErrOffset, total, u.head.Total)
		}
		return s.info(u)
	}
	if err := s.room(owner, total); err != nil {
		return Info{}, err
	}
	u := &upload{id: id, head: head{Owner: owner, Total: total, Meta: meta}, touched: now}
	if err := s.begin(u); err != nil {
		return Info{}, full(err)
	}
	s.all[id] = u
	return s.info(u)
}

// room holds an upload against the owner's limits and the disk: it will lie there
// twice for a moment, here and in the queue. The caller holds mu.
func (s *Store) room(owner string, total int64) error {
	n, bytes := 0, total
	for _, u := range s.all {
		if u.head.Owner == owner && u.done == nil {
			n++
			bytes += u.head.Total
		}
	}
	if n >= s.limits.Uploads || bytes > s.limits.Bytes {
		return fmt.Errorf("%w: %d open, %d bytes with this one", ErrQuota, n, bytes)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("partial uploads: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free-2*total < s.limits.KeepFree {
		return fmt.Errorf("%w: %d bytes free, want %d twice and %d to spare", ErrFull, free, total, s.limits.KeepFree)
	}
	return nil
}

// Find tells how an upload stands. Another owner's is unknown.
func (s *Store) Find(owner, id string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[id]
	if u == nil || u.head.Owner != owner {
		return Info{}, ErrUnknown
	}
	return s.info(u)
}

// info makes sure that the offset told is on disk. The caller holds mu.
func (s *Store) info(u *upload) (Info, error) {
	if u.unread {
		if !u.busy.TryLock() {
			return Info{}, ErrBusy
		}
		defer u.busy.Unlock()
		if err := s.recover(u); err != nil {
			return Info{}, err
		}
	}
	i := Info{ID: u.id, Owner: u.head.Owner, Total: u.head.Total, Offset: u.offset, Meta: u.head.Meta, Expires: u.touched.Add(s.limits.Idle)}
	if u.done != nil {
		i.Done = &u.done.Outcome
	}
	return i, nil
}

// Finish records what became of a whole upload and gives its bytes up. The record
// stays as long as an upload may be idle: for senders who never heard.
//
//	stop before the record: whole, handed over again, the same item in the queue
//	stop after the record: done; the next start removes the bytes
func (s *Store) Finish(id string, o Outcome, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[id]
	if u == nil {
		return ErrUnknown
	}
	d := &done{Head: u.head, Outcome: o}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(s.dir, id+".done"), s.domain.Seal(nil, text, []byte(id+" done")), 0o600); err != nil {
		return full(err)
	}
	u.done, u.touched = d, now
	return s.drop(id + ".part")
}

// Remove forgets an upload of the owner's, whole or not.
func (s *Store) Remove(owner, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[id]
	if u == nil || u.head.Owner != owner {
		return ErrUnknown
	}
	return s.forget(u)
}

// Expire forgets what has been idle for too long.
func (s *Store) Expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, u := range s.all {
		if now.Sub(u.touched) > s.limits.Idle {
			if err := s.forget(u); !errors.Is(err, ErrBusy) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// forget removes an upload's files. The caller holds mu.
func (s *Store) forget(u *upload) error {
	if !u.busy.TryLock() {
		return ErrBusy
	}
	defer u.busy.Unlock()
	if err := s.drop(u.id+".part", u.id+".done"); err != nil {
		return err
	}
	delete(s.all, u.id)
	return nil
}

// drop removes files that may not be there.
func (s *Store) drop(files ...string) error {
	for _, f := range files {
		if err := os.Remove(filepath.Join(s.dir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove upload: %w", err)
		}
	}
	return durable.SyncDir(s.dir)
}

// full marks the errors of a disk that is full.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("partial uploads: %w", err)
}
