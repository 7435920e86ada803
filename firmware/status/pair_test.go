package status

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// One line each: who is master, since when, why.
func TestMaster(t *testing.T) {
	at := before(0)
	group := func(role, reason, peer string) Box {
		b := healthy()
		b.Pair = live(wire.Failover{Header: header("failoverd"), Groups: []wire.Group{{Name: "lan", Role: role, Reason: reason, Since: before(3 * time.Hour), Peer: peer}}})
		return b
	}
	dead := healthy()
	dead.Pair.Presence = Dead
	alone := healthy()
	alone.Pair = live(wire.Failover{Header: header("failoverd"), Groups: []wire.Group{}})
	for name, c := range map[string]struct {
		box  Box
		want string
	}{
		"master":  {group(wire.RoleMaster, "10.20.0.3 fell silent for 361 ms", "10.20.0.3"), "this box is master for 3h00m: 10.20.0.3 fell silent for 361 ms"},
		"backup":  {group(wire.RoleBackup, "10.20.0.3 is master with priority 150, this box has 100", "10.20.0.3"), "the other box (10.20.0.3) is master, this one has stood by for 3h00m: 10.20.0.3 is master with priority 150, this box has 100"},
		"barred":  {group(wire.RoleBackup, "can't reach the clinic's network", ""), "the other box (not heard yet) is master, this one has stood by for 3h00m: can't reach the clinic's network"},
		"no part": {group(wire.RoleInit, "no link on lan", ""), "this box has taken no part for 3h00m: no link on lan"},
		"dead":    {dead, "unknown: failoverd is dead"},
		"alone":   {alone, "no address is shared: this box answers under its own only"},
		"hostile": {group(wire.RoleMaster, "a\nb\x1b[2J", ""), "this box is master for 3h00m: a b?[2J"},
	} {
		if got := Master(c.box, at); got != c.want || strings.Contains(got, "\n") {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPair(t *testing.T) {
	b := healthy()
	b.Pair = live(wire.Failover{
		Header: header("failoverd"),
		Groups: []wire.Group{{Name: "lan", Role: wire.RoleBackup, Reason: "10.20.0.3 is master with priority 100, this box has 10", Since: before(time.Minute),
			Priority: 10, Basis: 110, Addresses: []string{"10.20.0.1/24"}, Peer: "10.20.0.3"}},
		Flaws:  []wire.Flaw{{Name: "uplinks", Handicap: 100, Why: "none of its 2 internet lines works"}},
		Cable:  &wire.Cable{Alive: true, Since: before(time.Hour), Other: []wire.Other{{Group: "lan", Role: wire.RoleMaster, Priority: 100, Address: "10.20.0.3"}}},
		Flows:  &wire.Flows{Held: 812, LagMS: 2},
		Tunnel: &wire.PairTunnel{},
	})
	const want = ` MASTER   the other box (10.20.0.3) is master, this one has stood by for 1m:
          10.20.0.3 is master with priority 100, this box has 10
 lan      BACKUP of 10.20.0.1/24 for 1m: 10.20.0.3 is master with priority 100,
          this box has 10
          priority 10 of 110; the other box: master, priority 100, 10.20.0.3
 WORSE    by 100: none of its 2 internet lines works
 CABLE    the other box is heard, for 1h00m
 FLOWS    0 given to the other box, 812 held for it, 2 ms behind
 TUNNEL   run by the other box
`
	if got := Pair(b, before(0), 80); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	b.Pair.V.Cable, b.Pair.V.Flows, b.Pair.V.Tunnel = nil, nil, nil
	if got := Pair(b, before(0), 80); !strings.Contains(got, "CABLE    none: the boxes know") {
		t.Errorf("got:\n%s", got)
	}
	b.Pair.Presence = Missing
	if got := Pair(b, before(0), 80); got != " MASTER   unknown: failoverd is missing\n" {
		t.Errorf("got %q", got)
	}
}
