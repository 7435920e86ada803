package allowance

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
)

func uplink(name string, up int64, metered bool, role string) wire.Uplink {
	return wire.Uplink{Name: name, UplinkUse: wire.UplinkUse{LineUp: up, Metered: metered, Role: role}}
}

func TestWay(t *testing.T) {
	dsl, lte := uplink("dsl", 1e6, false, "primary"), uplink("lte", 5e6, true, "primary")
	spent, unknown := uplink("spent", 2e6, false, "last-resort"), uplink("odd", 0, false, "shared")
	tunnel := func(state string, paths ...wire.TunnelPath) []wire.Tunnel {
		return []wire.Tunnel{{State: state, Paths: paths}}
	}
	sends := func(uplink, how string) wire.TunnelPath { return wire.TunnelPath{Uplink: uplink, Sends: how} }
	for name, c := range map[string]struct {
		net  *wire.Net
		want Way
	}{
		"nothing known":         {nil, Way{}},
		"none usable":           {&wire.Net{Uplinks: []wire.Uplink{dsl}}, Way{Cheaper: true}},
		"the active one":        {&wire.Net{Uplinks: []wire.Uplink{dsl, lte}, Active: "dsl"}, Way{Up: 1e6}},
		"the metered one":       {&wire.Net{Uplinks: []wire.Uplink{dsl, lte}, Active: "lte"}, Way{Up: 5e6, Dear: "lte", Cheaper: true}},
		"metered, alone":        {&wire.Net{Uplinks: []wire.Uplink{lte}, Active: "lte"}, Way{Up: 5e6, Dear: "lte"}},
		"a last resort":         {&wire.Net{Uplinks: []wire.Uplink{dsl, spent}, Active: "spent"}, Way{Up: 2e6, Dear: "spent", Cheaper: true}},
		"the tunnel's":          {&wire.Net{Uplinks: []wire.Uplink{dsl, lte}, Active: "lte", Tunnels: []wire.Tunnel{{State: wire.TunnelUp, Via: "dsl"}}}, Way{Up: 1e6}},
		"a tunnel that is down": {&wire.Net{Uplinks: []wire.Uplink{dsl, lte}, Active: "lte", Tunnels: []wire.Tunnel{{State: wire.TunnelDown, Via: "dsl"}}}, Way{Up: 5e6, Dear: "lte", Cheaper: true}},
		"small packets only":    {&wire.Net{Uplinks: []wire.Uplink{dsl, lte}, Tunnels: tunnel(wire.TunnelUp, sends("dsl", wire.PathAll), sends("lte", wire.PathSmall))}, Way{Up: 1e6}},
		"both":                  {&wire.Net{Uplinks: []wire.Uplink{dsl, spent}, Tunnels: tunnel(wire.TunnelUp, sends("dsl", wire.PathShare), sends("spent", wire.PathShare))}, Way{Up: 3e6, Dear: "spent"}},
		"one of unknown size":   {&wire.Net{Uplinks: []wire.Uplink{dsl, unknown}, Tunnels: tunnel(wire.TunnelUp, sends("dsl", wire.PathShare), sends("odd", wire.PathShare))}, Way{}},
	} {
		if got := WayOf(c.net); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestWaits(t *testing.T) {
	p, now := Policy{}.WithDefaults(), time.Unix(1e9, 0)
	dear := Way{Dear: "lte", Cheaper: true}
	for _, c := range []struct {
		way  Way
		lane lane.Lane
		age  time.Duration
		want bool
	}{
		{dear, lane.Bulk, time.Hour, true}, {dear, lane.Bulk, 25 * time.Hour, false}, {dear, lane.Routine, 0, false}, {dear, lane.Stat, 0, false},
		{Way{Dear: "lte"}, lane.Bulk, 0, false}, {Way{Cheaper: true}, lane.Bulk, 0, false}, {Way{}, lane.Bulk, 0, false},
	} {
		if got := p.Waits(c.way, c.lane, now.Add(-c.age), now); got != c.want {
			t.Errorf("%+v %v after %v: got %v", c.way, c.lane, c.age, got)
		}
	}
}

// run has each lane send whatever it may for a minute, and returns bytes by lane.
func run(p Policy, w Way, lanes ...lane.Lane) map[lane.Lane]int {
	const piece = 64 << 10
	var m Meter
	sent, begin := map[lane.Lane]int{}, time.Unix(1e9, 0)
	for now := begin; now.Sub(begin) < time.Minute; now = now.Add(10 * time.Millisecond) {
		for _, l := range lanes {
			if m.Pause(l, now) <= 0 && sent[l] < 100<<20 {
				m.Passed(p, w, l, piece, now)
				sent[l] += piece
			}
		}
	}
	return sent
}

func TestShares(t *testing.T) {
	p, w := Policy{}.WithDefaults(), Way{Up: 1e6} // 7.5 MB in a minute
	within := func(what string, got, percent int) {
		t.Helper()
		if want := 75_000 * percent; got < want*95/100-1<<16 || got > want+2<<16 {
			t.Errorf("%s: %d bytes in a minute of 1 Mbit/s, want about %d", what, got, want)
		}
	}
	within("bulk alone", run(p, w, lane.Bulk)[lane.Bulk], 80)
	within("routine alone", run(p, w, lane.Routine)[lane.Routine], 95)
	both := run(p, w, lane.Routine, lane.Bulk)
	within("both", both[lane.Routine]+both[lane.Bulk], 95)
	if n := run(p, w, lane.Stat)[lane.Stat]; n < 100<<20 {
		t.Errorf("urgent uploads were slowed to %d bytes in a minute", n)
	}
	if n := run(p, Way{}, lane.Bulk)[lane.Bulk]; n < 100<<20 {
		t.Errorf("on a line of unknown size %d bytes in a minute", n)
	}
	within("bulk, of the site's share", run(Policy{Bulk: 25}.WithDefaults(), w, lane.Bulk)[lane.Bulk], 25)
}

// Time in which nothing was sent gives no right to a burst, and another line no debt.
func TestNoBurst(t *testing.T) {
	p, w, now := Policy{}.WithDefaults(), Way{Up: 1e6}, time.Unix(1e9, 0)
	var m Meter
	m.Passed(p, w, lane.Bulk, 64<<10, now)
	first := m.Pause(lane.Bulk, now)
	now = now.Add(time.Hour)
	m.Passed(p, w, lane.Bulk, 64<<10, now)
	if again := m.Pause(lane.Bulk, now); again != first || first < 600*time.Millisecond {
		t.Errorf("paused %v, and %v after an hour", first, again)
	}
	if m.Pause(lane.Stat, now) > 0 {
		t.Error("an urgent upload pauses")
	}
	if m.Reset(); m.Pause(lane.Bulk, now) > 0 {
		t.Error("a debt to another line")
	}
}
