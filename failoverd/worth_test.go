package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/failoverd/fitness"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// zone makes a thermal zone.
func zone(t *testing.T, folder, name string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(folder, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for f, text := range files {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The zone nearest to its own limit counts; what can't be read does not.
func TestHottest(t *testing.T) {
	dir := t.TempDir()
	if got := hottest(dir); got != (fitness.Heat{}) {
		t.Errorf("without sensors: %+v", got)
	}
	zone(t, dir, "thermal_zone0", map[string]string{"type": "acpitz", "temp": "61000", "trip_point_0_type": "critical", "trip_point_0_temp": "119000"})
	zone(t, dir, "thermal_zone1", map[string]string{"type": "x86_pkg_temp", "temp": "58000", "trip_point_0_type": "passive", "trip_point_0_temp": "50000", "trip_point_1_type": "critical", "trip_point_1_temp": "85000"})
	zone(t, dir, "thermal_zone2", map[string]string{"type": "broken", "temp": "hot"})
	if got, want := hottest(dir), (fitness.Heat{Zone: "x86_pkg_temp", Milli: 58000, Critical: 85000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The better box by configuration loses its lines: the other one becomes master and
// both say why; a program that is gone counts too.
func TestWorthMoves(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a, b := c.node("a", "10.20.0.2/24", 110), c.node("b", "10.20.0.3/24", 100)
	a.is(wire.RoleMaster)
	b.is(wire.RoleBackup)
	netd := func(n *node, states ...string) {
		f := wire.Net{Header: wire.Header{PID: os.Getpid()}}
		for _, s := range states {
			f.Uplinks = append(f.Uplinks, wire.Uplink{State: s})
		}
		c.check(wirefile.Publish(filepath.Join(n.dir, "run"), wire.NetFile, &f, 0o644))
	}
	netd(a, wire.UplinkUp, wire.UplinkUp)
	netd(b, wire.UplinkUp, wire.UplinkDegraded)
	netd(a, wire.UplinkDown, wire.UplinkNoLink)
	b.is(wire.RoleMaster)
	if g := b.group(); g.Reason != "priority 100 beats 10 of 10.20.0.2" {
		t.Errorf("reason %q", g.Reason)
	}
	c.eventually("a says why", func() bool {
		f := a.file()
		return f.Groups[0].Priority == 10 && f.Groups[0].Basis == 110 && len(f.Flaws) == 1 && strings.Contains(f.Flaws[0].Why, "none of its 2 internet lines")
	})
	if g := a.is(wire.RoleBackup); g.Reason != "10.20.0.3 is master with priority 100, this box has 10" {
		t.Errorf("reason %q", g.Reason)
	}
	// b's syncd published and died.
	c.check(wirefile.Publish(filepath.Join(b.dir, "run"), wire.SyncFile, &wire.Sync{Header: wire.Header{PID: 1 << 22}}, 0o644))
	c.eventually("b is the worse one too", func() bool { return b.group().Priority == 20 })
	netd(a, wire.UplinkUp, wire.UplinkUp)
	b.is(wire.RoleMaster) // for 30 s more: a's lines must prove themselves
}
