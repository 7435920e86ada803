package main

import (
	"testing"
	"time"

	"clinicgate/failoverd/config"
	"clinicgate/failoverd/vrrp"
)

// A group gives its addresses away when the first one of its name has been with the
// other box for a while; the first itself never does, nor one that is on its way.
func TestApart(t *testing.T) {
	long := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		first, own   place
		sync         string
		apart        bool
		firstIsApart bool
	}{
		"together":           {place{vrrp.Active, long}, place{vrrp.Active, long}, "both", false, false},
		"apart":              {place{vrrp.Backup, long}, place{vrrp.Active, long}, "both", true, false},
		"the other way":      {place{vrrp.Active, long}, place{vrrp.Backup, long}, "both", false, false},
		"just now":           {place{vrrp.Backup, time.Now()}, place{vrrp.Active, long}, "both", false, false},
		"each for itself":    {place{vrrp.Backup, long}, place{vrrp.Active, long}, "", false, false},
		"first out of order": {place{vrrp.Initialize, long}, place{vrrp.Active, long}, "both", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tg := newTogether()
			var gs [2]*group
			for i, p := range []place{c.first, c.own} {
				gs[i] = &group{cfg: config.Group{Sync: c.sync, Interval: 10 * time.Millisecond}}
				tg.add(gs[i])
				tg.where[gs[i]] = p
			}
			if a, b := tg.apart(gs[0]), tg.apart(gs[1]); a != c.firstIsApart || b != c.apart {
				t.Errorf("got %v, %v; want %v, %v", a, b, c.firstIsApart, c.apart)
			}
		})
	}
}
