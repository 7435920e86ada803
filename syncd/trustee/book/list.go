package book

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A Line is a domain as its manager sees it.
type Line struct {
	Domain string            `json:"domain"`
	Use    int               `json:"use"`
	Made   time.Time         `json:"made"`  // of the key in use
	Floor  int               `json:"floor"` // what was sealed under less is shredded; 0: nothing
	Access map[string]string `json:"access"`
}

// List shows a manager the site's domains, and ops all of them.
func (b *Book) List(by string) ([]Line, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.is(by, Ops) != nil {
		if err := b.is(by, Manager); err != nil {
			return nil, err
		}
	}
	m, lines := b.Members[by], []Line{}
	for _, name := range slices.Sorted(maps.Keys(b.Domains)) {
		if m.Role == Manager && !strings.HasPrefix(name, m.Site+"/") {
			continue
		}
		d := b.Domains[name]
		last := d.Versions[len(d.Versions)-1]
		lines = append(lines, Line{Domain: name, Use: last.N, Made: last.Made, Floor: d.Floor, Access: maps.Clone(d.Access)})
	}
	return lines, nil
}

func (d *Domain) clone() *Domain {
	c := *d
	c.Versions, c.Access = slices.Clone(d.Versions), maps.Clone(d.Access)
	return &c
}
