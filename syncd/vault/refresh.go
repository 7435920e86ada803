package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"clinicgate/syncd/vault/deed"
)

// A Trustee asks the third party for the deed of a domain, sealed to a point. It
// returns a *Denied when the answer is no, and another error when there was none.
type Trustee interface {
	Deed(ctx context.Context, domain string, point []byte) (sealed []byte, err error)
}

// Denied is the third party's no.
type Denied struct {
	Type   string // one of deed's
	Detail string
}

func (d *Denied) Error() string { return d.Type + ": " + d.Detail }

// News is what a Refresh brought.
type News struct {
	Rotated  []string // domains that seal with another key now
	Shredded []string // domains of which what was sealed before opens no more
	Back     bool     // the box's own keys came back after its state had changed
}

// Refresh asks the third party about every domain. What it gives is on the disk
// before it is used.
//
//	stop before keys.json is replaced: the old keys, and the same question again
//	stop after: the new ones
func (v *Vault) Refresh(ctx context.Context) (News, error) {
	var news News
	if v.o.Trustee == nil {
		return news, nil
	}
	v.mu.Lock()
	names, point := v.names(), v.point
	v.mu.Unlock()
	var errs []error
	for _, name := range names {
		sealed, err := v.o.Trustee.Deed(ctx, v.full(name), point)
		var no *Denied
		if errors.As(err, &no) {
			err = errors.Join(err, v.deny(name, no))
		} else if err == nil {
			err = v.accept(name, sealed, &news)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("deed of %s: %w", v.full(name), err))
			if no == nil && ctx.Err() != nil {
				break
			}
		}
	}
	return news, errors.Join(errs...)
}

// deny keeps the no: a restart doesn't get round it. The keys stay, for the day the
// third party says yes again.
func (v *Vault) deny(name string, no *Denied) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.all[name]
	if c == nil || c.Deed == nil || c.Denied == no.Error() {
		return nil // nothing of the third party's is here
	}
	was := c.Denied
	c.Denied = no.Error()
	if err := v.save(); err != nil {
		c.Denied = was
		return err
	}
	return nil
}

// accept takes a sealed deed into use.
func (v *Vault) accept(name string, sealed []byte, news *News) error {
	v.mu.Lock()
	w := v.kept.Wrap
	v.mu.Unlock()
	k, err := w.open(v.o.TPM)
	if err != nil {
		return err
	}
	d, err := within(func() (*deed.Deed, error) { return deed.Open(k, v.o.Box, v.full(name), sealed) })
	k.close()
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.all[name]
	if old == nil {
		old = &contents{}
	}
	if was := old.Deed; was != nil && (d.Use < was.Use || d.Floor < was.Floor) {
		return fmt.Errorf("got an older deed, of key %d, than the one of key %d", d.Use, was.Use)
	}
	next := &contents{Own: old.Own, Deed: d, Wipe: old.Wipe}
	if err := v.recover(name, next); err != nil {
		return err
	}
	shredded := d.Floor > 0 && (old.Own != nil || old.Deed != nil && old.Deed.Keys[0].N < d.Floor)
	if d.Floor > 0 {
		next.Own = nil
	}
	next.Wipe = next.Wipe || shredded
	if err := v.replace(name, next, shredded); err != nil {
		return err
	}
	switch live := v.domains[name]; {
	case shredded:
		news.Shredded = append(news.Shredded, name)
	case old.Deed != nil && old.Deed.Use != d.Use:
		news.Rotated = append(news.Rotated, name)
		fallthrough
	case live != nil:
		if r := newRing(next); live != nil && r.err == nil {
			live.ring.Store(r)
		}
	}
	if old.Own == nil && next.Own != nil {
		news.Back = true
	}
	return nil
}

// recover brings the box's own key back from what was spared.
func (v *Vault) recover(name string, c *contents) error {
	spare := v.kept.Spare[name]
	if c.Own != nil || spare == nil || c.Deed.Floor > 0 {
		return nil
	}
	d := &Domain{name: short(name)}
	d.ring.Store(newRing(c))
	text, err := d.Open(nil, spare, spareID)
	if err != nil || len(text) != 32 {
		return fmt.Errorf("the box's own key does not come back: %w", errors.Join(err, ErrSealed))
	}
	key := [32]byte(text)
	c.Own = &key
	return nil
}

// replace puts new contents in the place of the old, durably. What is shredded takes
// the key of the whole body with it, so that an old keys.json is of no use beside
// the new one.
func (v *Vault) replace(name string, c *contents, shredded bool) error {
	old, before, kek := v.all[name], *v.kept, v.kek
	before.Spare = maps.Clone(before.Spare)
	v.all[name] = c
	err := func() (err error) {
		if shredded {
			delete(v.kept.Spare, name)
			if v.kek, v.kept.Key, err = newKEK(v.point); err != nil {
				return err
			}
		}
		return v.save()
	}()
	if err != nil {
		if v.all[name] = old; old == nil {
			delete(v.all, name)
		}
		*v.kept, v.kek = before, kek
		return err
	}
	if v.floor != nil {
		// One that can't be raised is the clock's word alone.
		_ = v.floor.Raise(c.Deed.At)
	}
	v.moved = v.stillMoved()
	return nil
}

// stillMoved is v.moved until every local domain that was spared is back.
func (v *Vault) stillMoved() []int {
	for name := range v.kept.Spare {
		if c := v.all[name]; c == nil || c.Deed == nil {
			return v.moved
		}
	}
	return nil
}

// Wipe lists the domains whose stores are of no use any more: what is in them opens
// never again. The owner removes them and says Wiped.
func (v *Vault) Wipe() (names []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range v.names() {
		if c := v.all[name]; c != nil && c.Wipe {
			names = append(names, name)
		}
	}
	return names
}

// Wiped notes that a domain's stores are gone.
func (v *Vault) Wiped(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.all[name]
	if c == nil || !c.Wipe {
		return nil
	}
	c.Wipe = false
	if err := v.save(); err != nil {
		c.Wipe = true
		return err
	}
	return nil
}

// A Holding is what the vault has of one domain, without the keys.
type Holding struct {
	Domain string // full name with a third party, else the box's
	Use    int    // version in use; 0: the box's own key
	Own    bool   // what was sealed with the box's own key still opens
	May    string
	At     time.Time // of the deed
	Until  time.Time // zero: without end
	Why    string    // it is locked
}

// Holdings lists the domains.
func (v *Vault) Holdings() []Holding {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Holding
	for _, name := range v.names() {
		c := v.all[name]
		if c == nil {
			continue
		}
		h := Holding{Domain: name, Own: c.Own != nil, May: deed.Write}
		if d := c.Deed; d != nil {
			h.Domain, h.Use, h.May, h.At, h.Until = v.full(name), d.Use, d.May, d.At, d.Until
		}
		if err := v.locked(name); err != nil {
			h.Why = err.Error()
		}
		all = append(all, h)
	}
	return all
}
