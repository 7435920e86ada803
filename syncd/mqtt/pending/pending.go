// Package pending remembers which QoS 2 messages of a device were taken and not
// released yet (MQTT 5 §4.3.3, MQTT 3.1.1 §4.3.3). Its one guarantee: what Keep
// returned nil for is known until Drop, in every later life of the box.
//
// Forgetting is the safe side. A forgotten message that comes again is taken
// again, and the queue knows it by its content; a message wrongly thought known
// would be lost. So each packet id stands with a mark of its message, and an id
// with another message is a new one.
package pending

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/vault"
)

// Bounds. A device's certificate is what entitles it to a file.
const (
	// maxSessions is the sessions of one device; the one unused longest goes.
	maxSessions = 8
	// Longest is how long a session is kept that is not used.
	Longest = 7 * 24 * time.Hour
)

// Mark stands for a message.
type Mark [16]byte

// Store holds the sessions of all devices, one file per device. Safe for
// concurrent use.
type Store struct {
	dir    string
	domain *vault.Domain

	mu      sync.Mutex
	devices map[string]*device
}

// device is the content of a file.
type device struct {
	Name     string             `json:"name"`
	Sessions map[string]*record `json:"sessions"` // by client id
}

// record is a session that outlives its connection.
type record struct {
	Used  time.Time       `json:"used"`
	Until time.Time       `json:"until"`
	Marks map[uint16]Mark `json:"marks"`
}

// Open reads what is kept in dir and makes it if need be. lost counts files that
// could not be read and were removed: their sessions are forgotten.
func Open(dir string, d *vault.Domain) (s *Store, lost int, err error) {
	if err := d.Err(); err != nil {
		return nil, 0, fmt.Errorf("packet ids: %w", err)
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("packet ids: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("packet ids: %w", err)
	}
	s = &Store{dir: dir, domain: d, devices: map[string]*device{}}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // of a write that a stop cut short
		}
		if err := s.load(e.Name()); err != nil {
			lost++
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, lost, fmt.Errorf("packet ids: %w", err)
			}
		}
	}
	return s, lost, nil
}

func (s *Store) load(file string) error {
	sealed, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		return err
	}
	text, err := s.domain.Open(nil, sealed, []byte(file))
	if err != nil {
		return err
	}
	var d device
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if s.file(d.Name) != file || d.Sessions == nil {
		return vault.ErrSealed
	}
	s.devices[d.Name] = &d
	return nil
}

// file is the name of a device's file; it says nothing of the device.
func (s *Store) file(name string) string {
	sum := s.domain.Blind([]byte("mqtt device\x00" + name))
	return hex.EncodeToString(sum[:16])
}

// save makes a device's sessions durable, and then true. The caller holds mu.
//
//	stop before the rename: as it was    stop after: as it is
func (s *Store) save(d *device) error {
	path := filepath.Join(s.dir, s.file(d.Name))
	if len(d.Sessions) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("packet ids: %w", err)
		}
		if err := durable.SyncDir(s.dir); err != nil {
			return err
		}
		delete(s.devices, d.Name)
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("packet ids: %w", err)
	}
	if err := durable.WriteFile(path, s.domain.Seal(nil, text, []byte(s.file(d.Name))), 0o600); err != nil {
		return err
	}
	s.devices[d.Name] = d
	return nil
}

// Session opens the session of a device's client. keep is how long it outlives
// its connection; 0: not at all, and nothing of it is written. clean forgets what
// there is.
func (s *Store) Session(name, client string, keep time.Duration, clean bool, now time.Time) (*Session, error) {
	v := &Session{store: s, device: name, client: client, keep: min(keep, Longest), own: map[uint16]Mark{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[name]
	if d == nil {
		return v, nil
	}
	r := d.Sessions[client]
	if r == nil || !clean && v.keep > 0 && now.Before(r.Until) {
		return v, nil
	}
	next := d.without(client)
	if err := s.save(next); err != nil {
		return nil, err
	}
	return v, nil
}

// without is a copy of the device that lacks a session. What is in memory changes
// only when it is on disk.
func (d *device) without(client string) *device {
	next := &device{Name: d.Name, Sessions: maps.Clone(d.Sessions)}
	delete(next.Sessions, client)
	return next
}

// A Session is one client's. One goroutine uses it at a time; a client that
// connects anew may share its ids with its old connection for a moment.
type Session struct {
	store          *Store
	device, client string
	keep           time.Duration
	own            map[uint16]Mark // of a session that ends with its connection
}

// Kept is how long the session outlives its connection.
func (v *Session) Kept() time.Duration { return v.keep }

// marks are the ids as they stand. The caller holds the store's mu.
func (v *Session) marks() map[uint16]Mark {
	if v.keep == 0 {
		return v.own
	}
	if d := v.store.devices[v.device]; d != nil && d.Sessions[v.client] != nil {
		return d.Sessions[v.client].Marks
	}
	return nil
}

// Len counts the ids that wait for their release.
func (v *Session) Len() int {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	return len(v.marks())
}

// Known tells whether the message came before under this id.
func (v *Session) Known(id uint16, m Mark) bool {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	have, ok := v.marks()[id]
	return ok && have == m
}

// Room tells whether id is one of most ids at once.
func (v *Session) Room(id uint16, most int) bool {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	_, waits := v.marks()[id]
	return waits || len(v.marks()) < most
}

// Keep makes it durable that the message of id was taken.
func (v *Session) Keep(id uint16, m Mark, now time.Time) error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if v.keep == 0 {
		v.own[id] = m
		return nil
	}
	return v.write(now, func(marks map[uint16]Mark) { marks[id] = m })
}

// Drop makes it durable that id is free again, and tells whether it was not.
func (v *Session) Drop(id uint16, now time.Time) (bool, error) {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if _, ok := v.marks()[id]; !ok {
		return false, nil
	}
	if v.keep == 0 {
		delete(v.own, id)
		return true, nil
	}
	return true, v.write(now, func(marks map[uint16]Mark) { delete(marks, id) })
}

// write changes the session on disk and then in memory. The caller holds mu.
func (v *Session) write(now time.Time, change func(map[uint16]Mark)) error {
	next := &device{Name: v.device, Sessions: map[string]*record{}}
	if d := v.store.devices[v.device]; d != nil {
		next.Sessions = maps.Clone(d.Sessions)
	}
	r := &record{Used: now, Until: now.Add(v.keep), Marks: map[uint16]Mark{}}
	if old := next.Sessions[v.client]; old != nil {
		maps.Copy(r.Marks, old.Marks)
	}
	change(r.Marks)
	next.Sessions[v.client] = r
	if len(r.Marks) == 0 {
		delete(next.Sessions, v.client)
	}
	for len(next.Sessions) > maxSessions {
		delete(next.Sessions, slices.MinFunc(slices.Collect(maps.Keys(next.Sessions)), func(a, b string) int {
			return cmp.Or(next.Sessions[a].Used.Compare(next.Sessions[b].Used), cmp.Compare(a, b))
		}))
	}
	return v.store.save(next)
}
