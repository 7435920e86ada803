// Package revoked keeps the lists of cards that must not be used. Its guarantee: a
// list that Import returned for is checked, durable and in force, and never gives
// way to an older one. Lists come from whoever brings them: a link, a stick, a
// console; what they say is signed, so nobody has to be trusted on the way.
package revoked

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/cardauth/trust"
	"clinicgate/firmware/durable"
)

// Authorities are who may sign lists.
type Authorities struct {
	Anchors []*trust.Anchors  // of CRLs
	Hotlist ed25519.PublicKey // of the hotlist; nil: there is none
}

// A Store is the lists of one box. Safe for concurrent use.
type Store struct {
	dir string
	now atomic.Pointer[trust.Revocation]

	mu   sync.Mutex
	seen map[string]seen // files of the folder that were looked at
}

type seen struct {
	at   time.Time
	size int64
	err  error
}

const hotlistFile = "hotlist.json"

// Open makes a store of the lists in dir; Load reads them.
func Open(dir string) (*Store, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open lists: %w", err)
	}
	s := &Store{dir: dir, seen: map[string]seen{}}
	s.now.Store(trust.NewRevocation(nil, nil))
	return s, nil
}

// Now is what is in force.
func (s *Store) Now() *trust.Revocation { return s.now.Load() }

// Load reads the lists that were kept and checks them afresh, as after a change of
// the authorities. A list that can't be used is left out and reported.
func (s *Store) Load(by Authorities, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.seen) // what was refused may be good now
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read lists: %w", err)
	}
	var all []*trust.CRL
	var hot *trust.Hotlist
	var errs []error
	for _, n := range names {
		if n.Name()[0] == '.' { // left by a stop while it was written
			continue
		}
		data, err := read(filepath.Join(s.dir, n.Name()))
		if err == nil && n.Name() == hotlistFile {
			hot, err = trust.ParseHotlist(data, by.Hotlist, now)
		} else if err == nil {
			var c *trust.CRL
			if c, err = by.parse(data, now); err == nil {
				all = append(all, c)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("kept list %s: %w", n.Name(), err))
		}
	}
	s.now.Store(trust.NewRevocation(all, hot))
	return errors.Join(errs...)
}

// parse reads a CRL of any of the authorities.
func (by Authorities) parse(data []byte, now time.Time) (c *trust.CRL, err error) {
	err = fmt.Errorf("%w: there are no authorities yet", trust.ErrList)
	for _, a := range by.Anchors {
		if a == nil {
			continue
		}
		if c, err = trust.ParseCRL(data, a, now); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// Import takes a list, CRL or hotlist, and says what it is: nothing if it is here
// already.
//
//	stop before it returns: the old list or the new one, whole
//	stop after: the new one
func (s *Store) Import(data []byte, by Authorities, now time.Time) (what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.now.Load()
	if strings.HasPrefix(strings.TrimSpace(string(data[:min(len(data), 64)])), "{") {
		h, err := trust.ParseHotlist(data, by.Hotlist, now)
		if err == nil {
			if old := r.Hotlist(); old != nil && bytes.Equal(old.Raw, h.Raw) {
				return "", nil
			}
			err = h.Newer(r.Hotlist())
		}
		if err == nil {
			err = durable.WriteFile(filepath.Join(s.dir, hotlistFile), data, 0o600)
		}
		if err != nil {
			return "", err
		}
		s.now.Store(trust.NewRevocation(r.Lists(), h))
		return fmt.Sprintf("hotlist %d with %d entries", h.Serial, h.Len()), nil
	}
	c, err := by.parse(data, now)
	if err == nil {
		old := r.List(c.Key())
		if old != nil && bytes.Equal(old.Raw, c.Raw) {
			return "", nil
		}
		err = c.Newer(old)
	}
	if err == nil {
		sum := sha256.Sum256([]byte(c.Key()))
		err = durable.WriteFile(filepath.Join(s.dir, hex.EncodeToString(sum[:8])+".crl"), c.Raw, 0o600)
	}
	if err != nil {
		return "", err
	}
	s.now.Store(trust.NewRevocation(append(r.Lists(), c), r.Hotlist()))
	return fmt.Sprintf("list %v of %s with %d certificates, good until %s", c.Number, c.Issuer, c.Len(), c.Next.UTC().Format(time.RFC3339)), nil
}

// maxFiles bounds what is looked at in a folder.
const maxFiles = 64

// Folder imports what lies in a folder that people copy to, each file once, and
// returns what each that can't be used has: an older list than the one here is
// only old.
func (s *Store) Folder(dir string, by Authorities, now time.Time) (did []string, bad map[string]error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil // no such folder, as a rule
	}
	bad = map[string]error{}
	for _, n := range names[:min(len(names), maxFiles)] {
		info, err := n.Info()
		if err != nil || !info.Mode().IsRegular() || n.Name()[0] == '.' {
			continue
		}
		s.mu.Lock()
		known, was := s.seen[n.Name()]
		s.mu.Unlock()
		if !was || !known.at.Equal(info.ModTime()) || known.size != info.Size() {
			known = seen{info.ModTime(), info.Size(), nil}
			data, err := read(filepath.Join(dir, n.Name()))
			what := ""
			if err == nil {
				what, err = s.Import(data, by, now)
			}
			if known.err = err; what != "" {
				did = append(did, what)
			}
			s.mu.Lock()
			s.seen[n.Name()] = known
			s.mu.Unlock()
		}
		if known.err != nil && !errors.Is(known.err, trust.ErrRollback) {
			bad[n.Name()] = known.err
		}
	}
	return did, bad
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, trust.MaxList+1))
	if err == nil && len(data) > trust.MaxList {
		err = fmt.Errorf("%w: more than %d bytes", trust.ErrList, trust.MaxList)
	}
	return data, err
}
