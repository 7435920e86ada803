package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// unicast is one box of ours that advertises to one peer alone.
func (c *clinic) unicast(name, cidr string, priority int, peer, more string) *node {
	c.t.Helper()
	return c.nodeWith(name, cidr, fmt.Sprintf(`[[pair.group]]
name = "lan"
vrid = 20
port = "lan"
addresses = [%q]
priority = %d
interval = "100ms"
peers = [%q]
unicast = true
%s
`, shared+"/24", priority, peer, more))
}

// Two boxes of ours without multicast.
func TestUnicast(t *testing.T) {
	for _, mac := range []string{"port", "virtual"} {
		t.Run(mac, func(t *testing.T) {
			t.Parallel()
			b := &bench{clinic: newClinic(t), frames: make(chan []byte, 4096)}
			b.sniff()
			more := fmt.Sprintf("mac = %q", mac)
			x := b.clinic.unicast("a", "10.20.0.2/24", 150, "10.20.0.3", more)
			y := b.clinic.unicast("b", "10.20.0.3/24", 100, "10.20.0.2", more)
			x.is(wire.RoleMaster)
			b.eventually("y follows x", func() bool { return strings.HasPrefix(y.group().Reason, "10.20.0.2 is master") })
			x.proc.Stop(5 * time.Second)
			if g := y.is(wire.RoleMaster); g.Reason != "10.20.0.2 stepped down" {
				t.Errorf("reason %q", g.Reason)
			}
			x.start()
			x.is(wire.RoleMaster)
			y.is(wire.RoleBackup)
			for len(b.frames) > 0 {
				if f := <-b.frames; len(f) > 34 && f[12] == 8 && f[13] == 0 && f[23] == 112 && f[30] == 224 {
					t.Fatalf("an advertisement went to the group")
				}
			}
		})
	}
}

// keepalived with unicast peers, as the better one and as the worse one.
func TestInteropKeepalivedUnicast(t *testing.T) {
	for name, c := range map[string]struct{ theirs, ours int }{"they win": {150, 100}, "we win": {100, 150}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newClinic(t)
			more := []string{"unicast_src_ip 10.20.0.2", "unicast_peer {\n\t\t10.20.0.3\n\t}"}
			a := cl.unicast("a", "10.20.0.3/24", c.ours, "10.20.0.2", "")
			k := cl.keepalivedWith("10.20.0.2/24", c.theirs, shared+"/24", more...)
			if c.theirs > c.ours {
				k.says("Entering MASTER STATE")
				cl.eventually("ours follows keepalived", func() bool {
					return a.group().Reason == "10.20.0.2 is master with priority 150, this box has 100"
				})
				k.proc.Stop(5 * time.Second)
				if g := a.is(wire.RoleMaster); g.Reason != "10.20.0.2 stepped down" {
					t.Errorf("reason %q", g.Reason)
				}
				return
			}
			a.is(wire.RoleMaster)
			k.says("Entering BACKUP STATE")
			time.Sleep(2 * time.Second) // twenty intervals
			if out := k.output(); strings.Contains(out, "MASTER STATE") {
				t.Fatalf("keepalived did not accept our advertisements:\n%s", out)
			}
			a.proc.Stop(5 * time.Second)
			k.says("Entering MASTER STATE")
			a.start()
			a.is(wire.RoleMaster)
			cl.eventually("keepalived yields", func() bool { return strings.Count(k.output(), "Entering BACKUP STATE") == 2 })
		})
	}
}
