// Package casebook keeps cases on disk, sealed, one file each. Its one guarantee:
// a case that Save returned nil for is known, as it was saved, in every later life
// of the box.
package casebook

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/consult"
	"clinicgate/syncd/vault"
)

// Book is the cases of a box. Safe for concurrent use.
type Book struct {
	dir    string
	domain *vault.Domain

	mu    sync.Mutex
	cases map[string]consult.Case // by id
}

// Open reads what is kept in dir and makes it if need be. lost counts files that
// can't be read; they stay where they are, for support.
func Open(dir string, d *vault.Domain) (b *Book, lost int, err error) {
	if err := d.Err(); err != nil {
		return nil, 0, fmt.Errorf("casebook: %w", err)
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("casebook: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("casebook: %w", err)
	}
	b = &Book{dir: dir, domain: d, cases: map[string]consult.Case{}}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue // of a write that a stop cut short
		}
		if err := b.load(f.Name()); err != nil {
			lost++
		}
	}
	return b, lost, nil
}

func (b *Book) load(file string) error {
	sealed, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil {
		return err
	}
	text, err := b.domain.Open(nil, sealed, []byte(file))
	if err != nil {
		return err
	}
	var c consult.Case
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	if b.file(c.ID) != file {
		return vault.ErrSealed // another case's
	}
	b.cases[c.ID] = c
	return nil
}

// file is the name of a case's file; it says nothing.
func (b *Book) file(id string) string {
	sum := b.domain.Blind([]byte("case\x00" + id))
	return hex.EncodeToString(sum[:16])
}

// Save makes a case durable, and then true.
//
//	stop before the rename: as it was    stop after: as it is
func (b *Book) Save(c consult.Case) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("casebook: %w", err)
	}
	name := b.file(c.ID)
	if err := durable.WriteFile(filepath.Join(b.dir, name), b.domain.Seal(nil, text, []byte(name)), 0o600); err != nil {
		return fmt.Errorf("casebook: %w", err)
	}
	b.cases[c.ID] = clone(c)
	return nil
}

// Forget removes a case. Stop before it returns: the case may be there again.
func (b *Book) Forget(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := durable.Remove(filepath.Join(b.dir, b.file(id))); err != nil {
		return fmt.Errorf("casebook: %w", err)
	}
	delete(b.cases, id)
	return nil
}

// Cases lists all, the newest first.
func (b *Book) Cases() []consult.Case {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]consult.Case, 0, len(b.cases))
	for _, c := range b.cases {
		all = append(all, clone(c))
	}
	slices.SortFunc(all, func(x, y consult.Case) int {
		if c := y.Began.Compare(x.Began); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	return all
}

func clone(c consult.Case) consult.Case {
	c.Replies = slices.Clone(c.Replies)
	return c
}
