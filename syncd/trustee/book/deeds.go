package book

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"clinicgate/syncd/vault/deed"
)

// Deed answers a box's question with a sealed deed. A site's own domain begins to be
// with the first question for it.
func (b *Book) Deed(box string, ask deed.Ask, now time.Time) ([]byte, error) {
	if err := deed.CheckName(ask.Domain); err != nil {
		return nil, wrong(err)
	}
	if ask.V != 1 || len(ask.Key) != deed.PointSize {
		return nil, wrong(fmt.Errorf("got version %d and a key of %d bytes, want 1 and %d", ask.V, len(ask.Key), deed.PointSize))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	may, err := b.may(box, ask, now)
	if err != nil {
		return nil, err
	}
	d, err := b.draw(box, ask.Domain, may, now.UTC().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	sealed, err := d.Seal(ask.Key)
	if err != nil {
		return nil, wrong(err)
	}
	return sealed, nil
}

// may is what the box may do in the domain, both of which are known afterwards.
func (b *Book) may(box string, ask deed.Ask, now time.Time) (string, error) {
	if err := b.is(box, Box); err != nil {
		return "", err
	}
	m := b.Members[box]
	sum := sha256.Sum256(ask.Key)
	key := hex.EncodeToString(sum[:])
	if m.Key != "" && m.Key != key {
		return "", &Refused{deed.RefusedKey, fmt.Sprintf("%q asks with key %s and is enrolled with %s", box, key, m.Key)}
	}
	site, _, _ := strings.Cut(ask.Domain, "/")
	d := b.Domains[ask.Domain]
	if d == nil && site != m.Site {
		return "", refuse("there is no domain %s", ask.Domain)
	}
	if d != nil && d.Access[m.Site] == "" {
		return "", refuse("%s has no access to %s", m.Site, ask.Domain)
	}
	if m.Key == "" || d == nil {
		if err := b.begin(box, key, ask.Domain, d == nil, now); err != nil {
			return "", err
		}
	}
	return b.Domains[ask.Domain].Access[m.Site], nil
}

// begin notes a box's key and makes a domain.
func (b *Book) begin(box, key, domain string, fresh bool, now time.Time) error {
	m := b.Members[box]
	next := *m
	next.Key = key
	b.Members[box] = &next
	if fresh {
		b.Domains[domain] = &Domain{Blind: nonce(), Versions: []Version{{N: 1, Nonce: nonce(), Made: now.UTC()}},
			Access: map[string]string{m.Site: deed.Write}}
	}
	return b.save(func() {
		b.Members[box] = m
		if fresh {
			delete(b.Domains, domain)
		}
	})
}

func nonce() []byte {
	n := make([]byte, 32)
	rand.Read(n)
	return n
}

// draw makes the keys of a deed.
func (b *Book) draw(box, domain, may string, now time.Time) (*deed.Deed, error) {
	d := b.Domains[domain]
	out := &deed.Deed{V: 1, Domain: domain, Box: box, May: may, At: now, Until: now.Add(b.hold), Floor: d.Floor}
	var err error
	if out.Blind, err = b.prf.Sum(deed.Metadata(domain, "blind", d.Blind)); err != nil {
		return nil, err
	}
	for _, v := range d.Versions {
		key, err := b.prf.Sum(deed.Metadata(domain, "seal", v.Nonce))
		if err != nil {
			return nil, err
		}
		out.Use, out.Keys = v.N, append(out.Keys, deed.Version{N: v.N, Key: key})
	}
	return out, nil
}

// Grant lets a site use a domain, or no more when may is empty.
func (b *Book) Grant(by, domain, site, may string) error {
	if may != "" && may != deed.Read && may != deed.Write {
		return wrong(fmt.Errorf("right: got %q, want %s, %s or nothing", may, deed.Read, deed.Write))
	}
	if err := deed.CheckWord(site); err != nil {
		return wrong(err)
	}
	return b.change(by, domain, func(owner string, d *Domain) error {
		if site == owner {
			return wrong(errors.New("a site can't be taken off its own domain; shred it, or take its boxes off"))
		}
		if d.Access[site] = may; may == "" {
			delete(d.Access, site)
		}
		return nil
	})
}

// Rotate brings a new key into use; what is sealed still opens.
func (b *Book) Rotate(by, domain string, now time.Time) error {
	return b.change(by, domain, func(_ string, d *Domain) error { return d.next(now) })
}

// Shred forgets every key that the domain had: whatever was sealed opens nowhere,
// once the boxes have heard of it or their deeds have run out.
func (b *Book) Shred(by, domain string, now time.Time) error {
	return b.change(by, domain, func(_ string, d *Domain) error {
		if err := d.next(now); err != nil {
			return err
		}
		last := d.Versions[len(d.Versions)-1]
		d.Versions, d.Floor, d.Blind = []Version{last}, last.N, nonce()
		return nil
	})
}

// next adds a version.
func (d *Domain) next(now time.Time) error {
	n := d.Versions[len(d.Versions)-1].N + 1
	if n > deed.MaxVersion {
		return wrong(fmt.Errorf("got %d keys, and there is room for no more", n-1))
	}
	d.Versions = append(d.Versions, Version{N: n, Nonce: nonce(), Made: now.UTC()})
	return nil
}

// change has a manager of the domain's site change it.
func (b *Book) change(by, domain string, do func(owner string, d *Domain) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.is(by, Manager); err != nil {
		return err
	}
	owner, _, _ := strings.Cut(domain, "/")
	old := b.Domains[domain]
	if old == nil || b.Members[by].Site != owner {
		return refuse("%q manages no domain %s", by, domain)
	}
	next := old.clone()
	if err := do(owner, next); err != nil {
		return err
	}
	b.Domains[domain] = next
	return b.save(func() { b.Domains[domain] = old })
}
