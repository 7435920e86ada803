package turn

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func said(run bool, floor time.Time) *wire.Failover {
	return &wire.Failover{Tunnel: &wire.PairTunnel{Run: run, Floor: floor}}
}

func TestJudge(t *testing.T) {
	none := time.Time{}
	for name, c := range map[string]struct {
		known Known
		run   bool
		late  bool
		why   string
	}{
		"no pair":                       {Known{}, true, false, ""},
		"alone, not a word yet":         {Known{Pair: true}, true, false, ""},
		"two boxes, not a word yet":     {Known{Pair: true, Cable: true}, false, false, "has not said yet"},
		"faults only so far":            {Known{Pair: true, Cable: true, Said: &wire.Failover{}, Lives: true}, false, false, "has not said yet"},
		"master":                        {Known{Pair: true, Cable: true, Said: said(true, none), Lives: true}, true, false, ""},
		"backup":                        {Known{Pair: true, Cable: true, Said: said(false, none), Lives: true}, false, false, "the other box runs it"},
		"master's failoverd dead":       {Known{Pair: true, Cable: true, Said: said(true, none)}, false, false, "failoverd is dead"},
		"the same on a box alone":       {Known{Pair: true, Said: said(true, none)}, true, false, ""},
		"called in the past":            {Known{Pair: true, Said: said(true, noon.Add(-20*time.Millisecond)), Lives: true}, true, false, ""},
		"called in this very grain":     {Known{Pair: true, Said: said(true, noon), Lives: true}, false, true, "clock is 0s behind"},
		"clock ten minutes behind":      {Known{Pair: true, Said: said(true, noon.Add(10*time.Minute)), Lives: true}, true, true, "clock is 10m0s behind"},
		"our own call, just now":        {Known{Pair: true, Said: said(true, noon), Lives: true, Own: noon}, true, false, ""},
		"the other's after our own":     {Known{Pair: true, Said: said(true, noon.Add(time.Second)), Lives: true, Own: noon}, false, true, "clock is 1s behind"},
		"a backup's clock hinders none": {Known{Pair: true, Said: said(false, noon.Add(time.Hour)), Lives: true}, false, false, "the other box runs it"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(c.known, noon)
			if got.Rest == c.run || got.Late != c.late || !strings.Contains(got.Why, c.why) || (got.Why != "") != (got.Rest || got.Late) {
				t.Errorf("got %+v, want run %v, late %v, %q", got, c.run, c.late, c.why)
			}
		})
	}
}

// However close two boxes' calls are, the second one's stamp is later, or it waits.
func TestGrain(t *testing.T) {
	for ns := range 100 {
		floor := noon.Add(time.Duration(ns) * 7_654_321)
		now := floor
		for Judge(Known{Pair: true, Said: said(true, floor), Lives: true}, now).Rest {
			now = now.Add(time.Millisecond)
		}
		if waited := now.Sub(floor); waited > 18*time.Millisecond || !stamp(now).After(stamp(floor)) {
			t.Errorf("after a call at %v the next may be %v later", floor, waited)
		}
	}
}
