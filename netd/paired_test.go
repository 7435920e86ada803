package main

import (
	"slices"
	"testing"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
)

// The clinic is behind the pair's address where this box is known to have it.
func TestPairedHere(t *testing.T) {
	ups := []config.Uplink{{Name: "a"}, {Name: "b", Paired: config.Paired{Group: "isp-b"}}}
	said := func(name, role string) *wire.Failover {
		return &wire.Failover{Groups: []wire.Group{{Name: "lan", Role: wire.RoleMaster}, {Name: name, Role: role}}}
	}
	for name, c := range map[string]struct {
		said  *wire.Failover
		lives bool
		want  bool
	}{
		"not a word":     {nil, true, false},
		"master":         {said("isp-b", wire.RoleMaster), true, true},
		"backup":         {said("isp-b", wire.RoleBackup), true, false},
		"no link":        {said("isp-b", wire.RoleInit), true, false},
		"of another":     {said("isp-c", wire.RoleMaster), true, false},
		"dead failoverd": {said("isp-b", wire.RoleMaster), false, false},
	} {
		here := paired(ups, c.said, c.lives)
		if want := []bool{false, c.want}; !slices.Equal(here, want) {
			t.Errorf("%s: got %v, want %v", name, here, want)
		}
		got := behind(config.Config{Uplinks: ups}, here).Uplinks[1].Paired.Group != ""
		if got != c.want || ups[1].Paired.Group == "" {
			t.Errorf("%s: behind it %v, want %v", name, got, c.want)
		}
	}
}

// The firewall is made anew when an address came or went, and then only.
func TestHold(t *testing.T) {
	w := &wall{changed: make(chan struct{}, 1)}
	for _, c := range []struct {
		here []bool
		want int
	}{{[]bool{false, false}, 0}, {[]bool{false, true}, 1}, {[]bool{false, true}, 0}, {[]bool{false, false}, 1}} {
		w.hold(c.here)
		if len(w.changed) != c.want {
			t.Errorf("%v: called %d times, want %d", c.here, len(w.changed), c.want)
		}
		for range len(w.changed) {
			<-w.changed
		}
	}
}
