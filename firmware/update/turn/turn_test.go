package turn

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/release"
	"clinicgate/firmware/wire"
)

// night is a box at rest at 03:00.
func night() Facts {
	return Facts{
		Code: "ES-VA-047", Release: "1.0", Now: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC),
		Init: &wire.Init{Slots: &wire.Slots{Good: "a"}}, Sync: &wire.Sync{Lanes: []wire.Lane{{Name: "stat"}, {Name: "bulk", Waiting: 900}}},
		Card: &wire.Card{}, Pair: &wire.Failover{},
	}
}

func TestWanted(t *testing.T) {
	next, all := release.Release{Version: "1.1"}, release.Ring{Version: "1.1", Percent: 100}
	for name, c := range map[string]struct {
		change func(*Facts, *release.Release, *release.Ring)
		want   string
	}{
		"wanted":     {func(*Facts, *release.Release, *release.Ring) {}, ""},
		"running":    {func(_ *Facts, r *release.Release, _ *release.Ring) { r.Version = "1.0" }, "release 1.0 runs"},
		"halted":     {func(_ *Facts, _ *release.Release, r *release.Ring) { r.Halted = "netd leaks" }, "halted: netd leaks"},
		"nobody yet": {func(_ *Facts, _ *release.Release, r *release.Ring) { r.Percent = 0 }, "comes later"},
		"on trial":   {func(f *Facts, _ *release.Release, _ *release.Ring) { f.Init.Slots.Trial = &wire.Trial{Version: "0.9"} }, "release 0.9 is on trial"},
		"failed here": {func(f *Facts, _ *release.Release, _ *release.Ring) {
			f.Init.Slots.Refused = []wire.RefusedRelease{{Version: "1.1", Why: "hung"}}
		}, "failed here: it hung"},
		"no firmware":  {func(f *Facts, _ *release.Release, _ *release.Ring) { f.Init.Slots.NoUpdates = "no UEFI" }, "can't be updated: no UEFI"},
		"init is mute": {func(f *Facts, _ *release.Release, _ *release.Ring) { f.Init = nil }, "init does not say"},
	} {
		f, r, ring := night(), next, all
		c.change(&f, &r, &ring)
		if got := f.Wanted(r, ring); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestRestart(t *testing.T) {
	hour := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	for name, c := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"at rest":          {func(*Facts) {}, ""},
		"a card is in":     {func(f *Facts) { f.Card.Sessions = make([]wire.Session, 2) }, "2 cards are in use"},
		"a stat item":      {func(f *Facts) { f.Sync.Lanes[0].Waiting = 1 }, "1 urgent items"},
		"cardauth is mute": {func(f *Facts) { f.Card = nil }, "cardauth"},
		"syncd is mute":    {func(f *Facts) { f.Sync = nil }, "syncd"},
		"in the window":    {func(f *Facts) { f.Windows = []Window{{hour(2), hour(4)}} }, ""},
		"before it":        {func(f *Facts) { f.Windows = []Window{{hour(4), hour(5)}} }, "outside the hours"},
		"over midnight":    {func(f *Facts) { f.Windows = []Window{{hour(22), hour(4)}} }, ""},
		"at its end":       {func(f *Facts) { f.Windows = []Window{{hour(2), hour(3)}} }, "outside the hours"},
		"master of two": {func(f *Facts) {
			f.Pair.Groups = []wire.Group{{Role: wire.RoleMaster, Peer: "10.20.0.3", PeerSeen: f.Now.Add(-time.Second)}}
		}, "this box is master"},
		"master, the other is gone": {func(f *Facts) {
			f.Pair.Groups = []wire.Group{{Role: wire.RoleMaster, Peer: "10.20.0.3", PeerSeen: f.Now.Add(-time.Hour)}}
		}, ""},
		"backup": {func(f *Facts) {
			f.Pair.Groups = []wire.Group{{Role: wire.RoleBackup, Peer: "10.20.0.3", PeerSeen: f.Now}}
		}, ""},
	} {
		f := night()
		c.change(&f)
		if got := f.Restart(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestShareIsSpread(t *testing.T) {
	early := 0
	for n := range 1000 {
		s := Share("ES-VA-"+strings.Repeat("x", n%7)+string(rune('0'+n%10))+string(rune('a'+n/10%26)), "1.1")
		if s < 0 || s > 99 {
			t.Fatal(s)
		}
		if s < 10 {
			early++
		}
	}
	if early < 50 || early > 160 {
		t.Errorf("%d of 1000 boxes are among the first 10 %%", early)
	}
	if Share("a", "1.1") == Share("a", "1.2") && Share("b", "1.1") == Share("b", "1.2") && Share("c", "1.1") == Share("c", "1.2") {
		t.Error("the same boxes always go first")
	}
}
