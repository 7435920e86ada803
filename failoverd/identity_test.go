package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// calls is netd's word that the hub was called at that time.
func (g *gateway) calls(at time.Time) {
	g.x.t.Helper()
	n := wire.Net{Header: wire.Header{Program: "netd"}, Tunnels: []wire.Tunnel{{Name: "hub", Called: at}}}
	g.x.check(wirefile.Publish(filepath.Join(g.dir, "run"), wire.NetFile, &n, 0o644))
}

func (g *gateway) floor() time.Time {
	if t := g.state().Tunnel; t != nil {
		return t.Floor
	}
	return time.Time{}
}

// The time of the tunnel's last call is known to both boxes, also to one that was
// off when it was made, and after both have lost power. Only the master runs it.
func TestTunnelFloor(t *testing.T) {
	t.Parallel()
	x := newCrossing(t, true)
	x.check(os.Chown(x.a.dir, 202, 200), os.Chown(x.b.dir, 202, 200))
	if a, b := x.a.state().Tunnel, x.b.state().Tunnel; a == nil || b == nil || !a.Run || b.Run {
		t.Fatalf("a %+v, b %+v; want a to run the tunnel", a, b)
	}
	// Ten minutes ahead of b's clock, as if a's were.
	first := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Millisecond)
	x.a.calls(first)
	x.eventually("b knows of a's call", func() bool { return x.b.floor().Equal(first) })
	x.a.calls(first.Add(-time.Minute))
	second := first.Add(time.Minute)
	x.b.proc.Stop(5 * time.Second)
	x.a.calls(second)
	x.eventually("a knows its own", func() bool { return x.a.floor().Equal(second) })
	x.b.start()
	x.eventually("b was told when it came back", func() bool { return x.b.floor().Equal(second) })
	time.Sleep(writeFloor + time.Second) // the second one within that time is written late
	x.a.cut()
	x.b.cut()
	x.b.boot()
	x.eventually("b knows it after the power cut", func() bool { return x.b.floor().Equal(second) })
	x.b.are(wire.RoleMaster)
	if tun := x.b.state().Tunnel; !tun.Run || !tun.Floor.Equal(second) || tun.PeerAheadMS != 0 {
		t.Errorf("got %+v", tun)
	}
}
