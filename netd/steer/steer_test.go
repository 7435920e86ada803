package steer

import (
	"fmt"
	"testing"
	"time"

	"clinicgate/netd/config"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func up(n int) []Uplink {
	all := make([]Uplink, n)
	for i := range all {
		all[i].Usable = true
	}
	return all
}

func text(w Way) string { return fmt.Sprintf("{%v %v}", w.All, w.Small) }

func TestWay(t *testing.T) {
	metered := func(ups []Uplink, i int) []Uplink { ups[i].Metered = true; return ups }
	down := func(ups []Uplink, i int) []Uplink { ups[i].Usable = false; return ups }
	for name, c := range map[string]struct {
		policy string
		active int
		ups    []Uplink
		want   string
	}{
		"best":                         {config.Best, 1, up(3), "{[1] []}"},
		"redundant":                    {config.Redundant, 1, up(3), "{[1 0 2] []}"},
		"redundant, one down":          {config.Redundant, 0, down(up(3), 1), "{[0 2] []}"},
		"redundant, metered in second": {config.Redundant, 0, metered(up(2), 1), "{[0] [1]}"},
		"redundant, metered in use":    {config.Redundant, 1, metered(up(2), 1), "{[1 0] []}"},
		"none usable":                  {config.Redundant, 1, down(down(up(2), 0), 1), "{[1] []}"},
		"none at all":                  {config.Best, -1, down(up(1), 0), "{[] []}"},
		"active not usable":            {config.Best, 0, down(up(2), 0), "{[1] []}"},
	} {
		if got := text(New(c.policy, len(c.ups)).Way(c.active, c.ups, start)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestOneWay: the uplink by which the hub answered last is left when the hub falls
// silent, tried again later, and for longer left the next time.
func TestOneWay(t *testing.T) {
	m, ups := New(config.Redundant, 2), up(2)
	ups[0].Heard, ups[1].Heard = at(-10), at(-500)
	way := func(ms int) string { return fmt.Sprint(m.Way(0, ups, at(ms)).All) }
	expect := func(ms int, want string) {
		t.Helper()
		if got := way(ms); got != want {
			t.Errorf("at %d ms: got %s, want %s", ms, got, want)
		}
	}
	expect(0, "[0 1]")
	m.Asked(at(0))
	expect(199, "[0 1]") // one question may be lost
	m.Asked(at(200))
	expect(250, "[0 1]")
	expect(261, "[1]")
	m.Asked(at(300))
	m.Answered(20 * time.Millisecond)
	ups[1].Heard = at(320)
	expect(2200, "[1]")
	expect(2262, "[0 1]") // a second try
	ups[0].Heard = at(2300)
	m.Asked(at(2300))
	m.Asked(at(2350))
	ups[1].Heard = at(2310) // something came: not silent
	expect(2500, "[0 1]")
	m.Answered(20 * time.Millisecond)
	ups[0].Heard = at(2510)
	m.Asked(at(2600))
	m.Asked(at(2800))
	expect(2861, "[1]")
	expect(6800, "[1]") // twice as long as before
	expect(6862, "[0 1]")
}

// TestHubDead: when the other uplink is silent too, the hub is to blame: all are
// used again.
func TestHubDead(t *testing.T) {
	m, ups := New(config.Redundant, 2), up(2)
	ups[0].Heard = at(-10)
	m.Way(0, ups, at(0))
	seen := map[string]bool{}
	for ms := 0; ms < 5000; ms += 50 {
		if ms%200 == 0 {
			m.Asked(at(ms))
		}
		seen[fmt.Sprint(m.Way(0, ups, at(ms)).All)] = true
	}
	for _, want := range []string{"[0 1]", "[1]"} {
		if !seen[want] {
			t.Errorf("never tried %s, only %v", want, seen)
		}
	}
	if len(seen) != 2 {
		t.Errorf("tried %v", seen)
	}
}

// TestSlowTunnel: a tunnel over a satellite gets the time that it takes.
func TestSlowTunnel(t *testing.T) {
	m, ups := New(config.Redundant, 2), up(2)
	m.Way(0, ups, at(0))
	m.Answered(250 * time.Millisecond)
	m.Asked(at(0))
	m.Asked(at(200))
	if got := m.Way(0, ups, at(900)); len(got.All) != 2 {
		t.Errorf("left an uplink after 700 ms: %v", got)
	}
	if got := m.Way(0, ups, at(951)); len(got.All) != 1 {
		t.Errorf("stayed: %v", got)
	}
}

func TestBestLeavesASilentUplink(t *testing.T) {
	m, ups := New(config.Best, 2), up(2)
	ups[0].Heard = at(-10)
	m.Way(0, ups, at(0))
	m.Asked(at(0))
	m.Asked(at(500))
	if got := fmt.Sprint(m.Way(0, ups, at(600)).All); got != "[1]" {
		t.Errorf("got %s", got)
	}
}

// TestLossy: where every uplink loses packets small datagrams go thrice by each,
// until it is over.
func TestLossy(t *testing.T) {
	m, ups := New(config.Redundant, 2), up(2)
	for _, c := range []struct {
		a, b float64
		want string
	}{
		{0, 50, "{[0 1] []}"}, {10, 3, "{[0 1] []}"}, {10, 5, "{[0 1] [0 1 0 1]}"}, {2, 2, "{[0 1] [0 1 0 1]}"}, {0, 10, "{[0 1] []}"}, {2, 2, "{[0 1] []}"},
	} {
		ups[0].Loss, ups[1].Loss = c.a, c.b
		if got := text(m.Way(0, ups, start)); got != c.want {
			t.Errorf("losing %v and %v: got %s, want %s", c.a, c.b, got, c.want)
		}
	}
}
