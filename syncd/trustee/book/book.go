// Package book is what the trusted third party knows: who its members are, which
// domains there are, and who may use them. Its guarantee: a deed goes only to a
// member on the domain's list, for the key that it was enrolled with, and what was
// shredded is in no deed again.
//
// The keys themselves are nowhere: each is a PRF of the domain's name and a nonce
// under the third party's own key, and to forget the nonce is to destroy the key.
package book

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/vault/deed"
)

// A PRF is the third party's own key: HMAC-SHA-256 of at most 1024 bytes.
type PRF interface {
	Sum(text []byte) ([32]byte, error)
}

// Roles of members.
const (
	Ops     = "ops"     // enrols members and takes them off
	Manager = "manager" // of a site's domains: shares, rotates, shreds
	Box     = "box"     // of a site: has deeds
)

// A Member is who has a certificate of that name.
type Member struct {
	Role    string `json:"role"`
	Site    string `json:"site"`          // empty: of ops
	Key     string `json:"key,omitempty"` // SHA-256 of what a box's deeds are sealed to, in hex; empty: what it asks with first
	Revoked string `json:"revoked,omitempty"`
}

// A Domain is one of a site's.
type Domain struct {
	Blind    []byte            `json:"blind"` // nonce of the blinding secret
	Versions []Version         `json:"versions"`
	Floor    int               `json:"floor"`
	Access   map[string]string `json:"access"` // site → deed.Read or deed.Write
}

// A Version is one key of a domain.
type Version struct {
	N     int       `json:"n"`
	Nonce []byte    `json:"nonce"`
	Made  time.Time `json:"made"`
}

// A Refused is a no, with one of deed's types.
type Refused deed.Refusal

func (r *Refused) Error() string { return r.Type + ": " + r.Detail }

func refuse(format string, args ...any) error {
	return &Refused{deed.RefusedAccess, fmt.Sprintf(format, args...)}
}

func wrong(err error) error { return &Refused{deed.RefusedRequest, err.Error()} }

// pages is book.json.
type pages struct {
	V       int                `json:"v"` // 1
	Members map[string]*Member `json:"members"`
	Domains map[string]*Domain `json:"domains"`
}

// maxBook bounds book.json: thousands of sites.
const maxBook = 256 << 20

// A Book is an open book. Safe for concurrent use; one process has it.
type Book struct {
	path string
	prf  PRF
	hold time.Duration // how long a deed is good

	mu sync.Mutex
	pages
}

// Open opens the book in dir. hold is how long a box may work without asking again.
func Open(dir string, prf PRF, hold time.Duration) (*Book, error) {
	b := &Book{path: filepath.Join(dir, "book.json"), prf: prf, hold: hold}
	read, err := durable.ReadJSON[pages](b.path, maxBook)
	if err != nil {
		return nil, fmt.Errorf("open book: %w", err)
	}
	if b.pages = (pages{V: 1, Members: map[string]*Member{}, Domains: map[string]*Domain{}}); read != nil {
		if read.V != 1 || read.Members == nil || read.Domains == nil {
			return nil, fmt.Errorf("open book: %s: got version %d, want 1 with members and domains", b.path, read.V)
		}
		b.pages = *read
	}
	return b, nil
}

// save writes the book; undo puts back what was changed when that fails.
//
//	stop before it returns: the book as it was, and nobody was told otherwise
func (b *Book) save(undo func()) error {
	if err := durable.WriteJSON(b.path, b.pages, 0o600); err != nil {
		undo()
		return fmt.Errorf("write book: %w", err)
	}
	return nil
}

// Enrol makes a member, or gives one that there is another role or key. by is who
// asks; the first one of ops enrols itself.
func (b *Book) Enrol(by, name string, m Member) error {
	err := deed.CheckWord(name)
	if m.Site != "" || m.Role != Ops {
		err = errors.Join(err, deed.CheckWord(m.Site))
	}
	if !slices.Contains([]string{Ops, Manager, Box}, m.Role) {
		err = errors.Join(err, fmt.Errorf("role: got %q, want %s, %s or %s", m.Role, Ops, Manager, Box))
	}
	if err != nil {
		return wrong(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	first := m.Role == Ops && by == name && !slices.ContainsFunc(slices.Collect(maps.Values(b.Members)), func(m *Member) bool { return m.Role == Ops })
	if !first {
		if err := b.is(by, Ops); err != nil {
			return err
		}
	}
	old := b.Members[name]
	b.Members[name] = &m
	return b.save(func() { b.restore(name, old) })
}

func (b *Book) restore(name string, old *Member) {
	if b.Members[name] = old; old == nil {
		delete(b.Members, name)
	}
}

// Revoke takes a member off: a box that is stolen, a manager who left.
func (b *Book) Revoke(by, name, why string) error {
	if why == "" || len(why) > 200 || strings.ContainsFunc(why, func(r rune) bool { return r < ' ' }) {
		return wrong(errors.New("got no reason, or one over 200 characters; want one, such as stolen"))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.is(by, Ops); err != nil {
		return err
	}
	old := b.Members[name]
	if old == nil {
		return wrong(fmt.Errorf("there is no member %q", name))
	}
	m := *old
	m.Revoked = why
	b.Members[name] = &m
	return b.save(func() { b.restore(name, old) })
}

// is complains about who has not that role, or has it no more.
func (b *Book) is(name, role string) error {
	switch m := b.Members[name]; {
	case m == nil:
		return refuse("%q is not a member", name)
	case m.Revoked != "":
		return refuse("%q was taken off: %s", name, m.Revoked)
	case m.Role != role:
		return refuse("%q is enrolled as %s, and this is for %s", name, m.Role, role)
	}
	return nil
}
