package trust

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	us    = netip.MustParseAddr("10.20.0.2")
	them  = netip.MustParseAddr("10.20.0.3")
	rogue = netip.MustParseAddr("10.20.0.66")
	now   = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
)

func ago(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }

// What a machine on the clinic's network may try.
func TestRefuse(t *testing.T) {
	master, backup := Other{Master: true, Priority: 110, Self: them}, Other{Priority: 110, Self: them}
	placed := master
	placed.MACs = [][6]byte{{2, 3}}
	for name, c := range map[string]struct {
		cable Cable
		other Other
		a     Advert
		want  string // empty: believed
	}{
		"the other box is master":                {Alive, master, Advert{From: them, Priority: 110}, ""},
		"the other box stepped down":             {Alive, backup, Advert{From: them, Priority: 0}, ""},
		"a stranger with 255":                    {Alive, master, Advert{From: rogue, Priority: 255}, "the other box is 10.20.0.3"},
		"a stranger with 255, other is backup":   {Alive, backup, Advert{From: rogue, Priority: 255}, "the other box is"},
		"a stranger steps down":                  {Alive, master, Advert{From: rogue, Priority: 0}, "the other box is"},
		"forged address, 255":                    {Alive, master, Advert{From: them, Priority: 255}, "it has priority 110"},
		"forged address, 1":                      {Alive, master, Advert{From: them, Priority: 1}, "it has priority 110"},
		"forged address, 0":                      {Alive, master, Advert{From: them, Priority: 0}, "still master"},
		"forged address while it is backup":      {Alive, backup, Advert{From: them, Priority: 110}, "not master"},
		"forged address, 255, while it is":       {Alive, backup, Advert{From: them, Priority: 255}, "not master"},
		"the other box is gone, and steps down":  {Alive, Other{}, Advert{From: them, Priority: 0}, ""},
		"the other box takes no part":            {Alive, Other{}, Advert{From: them, Priority: 255}, "takes no part"},
		"the cable is lost: plain VRRP":          {Lost, Other{}, Advert{From: rogue, Priority: 255}, ""},
		"the cable is lost: the other box":       {Lost, backup, Advert{From: them, Priority: 255}, ""},
		"the cable is lost: a stranger":          {Lost, master, Advert{From: rogue, Priority: 255}, "the other box was 10.20.0.3"},
		"the cable is lost: from its place":      {Lost, placed, Advert{From: them, Priority: 0, MAC: [6]byte{2, 3}}, ""},
		"the cable is lost: forged address":      {Lost, placed, Advert{From: them, Priority: 0, MAC: [6]byte{2, 66}}, "from another machine"},
		"there is no cable: plain VRRP":          {None, Other{}, Advert{From: rogue, Priority: 255}, ""},
		"the same as the truth: it does no harm": {Alive, master, Advert{From: them, Priority: 110}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Refuse(c.cable, c.other, c.a)
			if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The table of the package, by row: may a backup that hears no master claim?
func TestBar(t *testing.T) {
	other := func(master bool, heard time.Time) Other {
		return Other{Master: master, Priority: 110, Self: them, Heard: heard}
	}
	for name, c := range map[string]struct {
		box  Box
		want string // empty: it may
	}{
		"both lost, machines answer":                    {Box{Cable: Lost, Known: 3, Heard: ago(1), Doubt: ago(20)}, ""},
		"both lost, machines heard before the silence":  {Box{Cable: Lost, Known: 3, Heard: ago(30), Doubt: ago(20)}, "of 3 machines heard lately none answers"},
		"both lost, the one machine is silent":          {Box{Cable: Lost, Known: 1, Heard: ago(9000), Doubt: ago(8000)}, "of the 1 machine heard lately none answers"},
		"both lost, silent for long, machines heard":    {Box{Cable: Lost, Known: 3, Heard: ago(900), Doubt: ago(60000)}, ""},
		"both lost, an empty network":                   {Box{Cable: Lost, Doubt: ago(20)}, ""},
		"no cable, machines answer":                     {Box{Cable: None, Known: 3, Heard: ago(1), Doubt: ago(20)}, ""},
		"network lost, cable up, the other reaches":     {Box{Cable: Alive, Other: other(true, ago(5)), Known: 3, Heard: ago(1), Doubt: ago(20)}, "and reaches the clinic's machines"},
		"network lost, cable up, the other is cut off":  {Box{Cable: Alive, Other: other(true, ago(25)), Known: 3, Heard: ago(1), Doubt: ago(20)}, ""},
		"network lost, cable up, both are cut off":      {Box{Cable: Alive, Other: other(true, ago(25)), Known: 3, Heard: ago(25), Doubt: ago(20)}, "can't reach the clinic's network"},
		"network lost, cable up, an empty network":      {Box{Cable: Alive, Other: other(true, time.Time{}), Doubt: ago(20)}, "is master by the cable"},
		"network lost, cable up, the other is backup":   {Box{Cable: Alive, Other: other(false, ago(5)), Known: 3, Heard: ago(1), Doubt: ago(20)}, ""},
		"a box without a pair, everything switched off": {Box{Known: 3, Heard: ago(9000), Doubt: ago(20), Alone: true}, ""},
		"the better box, the other is heard":            {Box{Cable: Alive, Other: other(true, ago(5)), Known: 3, Heard: ago(1), Better: true}, ""},
		"the better box, but cut off":                   {Box{Cable: Alive, Other: other(true, ago(5)), Known: 3, Heard: ago(3000), Better: true}, "can't reach"},
		"network lost, cable up, nobody knows machines": {Box{Cable: Alive, Other: other(true, ago(5)), Doubt: ago(20)}, "is master by the cable"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Bar(now, c.box)
			if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCede(t *testing.T) {
	box := func(priority uint8, known int, heard time.Time) Box {
		return Box{Cable: Alive, Known: known, Heard: heard, Priority: priority, Self: us,
			Other: Other{Master: true, Priority: 100, Self: them, Heard: ago(5)}}
	}
	backup := box(150, 3, ago(4000))
	backup.Other.Master = false
	far := box(150, 3, ago(4000))
	far.Other.Heard = ago(4000)
	empty := box(150, 0, time.Time{})
	empty.Other.Heard = time.Time{}
	lost := box(150, 3, ago(4000))
	lost.Cable = Lost
	slow := func(heard time.Time) Box {
		b := box(150, 1, heard)
		b.Beat = 100 * time.Millisecond
		return b
	}
	for name, c := range map[string]struct {
		box  Box
		both time.Time
		want string // empty: it stays
	}{
		"one master":                       {box(150, 3, ago(5)), time.Time{}, ""},
		"two for a moment":                 {box(50, 3, ago(5)), ago(20), ""},
		"two, the other is better":         {box(50, 3, ago(5)), ago(100), "with priority 100 against 50"},
		"two, equal, its address higher":   {box(100, 3, ago(5)), ago(100), "with priority 100 against 100"},
		"two, this one is better":          {box(150, 3, ago(5)), ago(100), ""},
		"two, better but cut off":          {box(150, 3, ago(200)), ago(100), "this box does not"},
		"two, better, on an empty network": {empty, ago(100), ""},
		"two, both cut off":                {far, ago(100), ""},
		"two, its word may be an old one":  {slow(ago(150)), ago(100), ""},
		"two, its word is a new one":       {slow(ago(350)), ago(300), "reaches the clinic's machines; this box does not"},
		"one, cut off, the other is not":   {backup, time.Time{}, "can't reach the clinic's network, and 10.20.0.3 does"},
		"one, cut off, the cable too":      {lost, ago(100), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Cede(now, c.both, c.box)
			if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// For every state two boxes can be in that know the same of each other, exactly one
// of two masters gives way, and never the only one that reaches the clinic.
func TestOneStays(t *testing.T) {
	times := []time.Time{{}, ago(200), ago(5)}
	for _, pa := range []uint8{50, 100, 150} {
		for i, ha := range times {
			for j, hb := range times {
				for _, known := range []int{0, 3} {
					a := Box{Cable: Alive, Known: known, Heard: ha, Priority: pa, Self: us, Other: Other{Master: true, Priority: 100, Self: them, Heard: hb}}
					b := Box{Cable: Alive, Known: known, Heard: hb, Priority: 100, Self: them, Other: Other{Master: true, Priority: pa, Self: us, Heard: ha}}
					ca, cb := Cede(now, ago(100), a), Cede(now, ago(100), b)
					name := fmt.Sprintf("priority %d, heard %d and %d, %d known", pa, i, j, known)
					if (ca == "") == (cb == "") {
						t.Errorf("%s: %q and %q", name, ca, cb)
					}
					if known > 0 && ha.After(ago(100)) && !hb.After(ago(100)) && ca != "" {
						t.Errorf("%s: the one that reaches the clinic gave way: %s", name, ca)
					}
				}
			}
		}
	}
}
