package tunnel

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// TestCookies: against WireGuard's own checker, each path's copy of a call is let in
// by the cookie of its own address, and by no other.
func TestCookies(t *testing.T) {
	hub := netip.MustParseAddrPort("192.0.2.1:51820")
	pub := device.NoisePublicKey{1, 2, 3}
	var theirs device.CookieChecker
	theirs.Init(pub)
	var ours device.CookieGenerator
	ours.Init(pub)
	known := newCalls()
	known.know(hub, pub)

	now := time.Now()
	sources := [][]byte{{100, 64, 1, 2, 1, 2}, {198, 51, 100, 2, 3, 4}}
	jars := make([]jar, len(sources))
	msg := make([]byte, callSize)
	msg[0] = typeCall
	ours.AddMacs(msg)
	known.note(hub, msg)
	for i, src := range sources {
		if !theirs.CheckMAC1(msg) || theirs.CheckMAC2(msg, src) {
			t.Fatal("the first call is let in without a cookie")
		}
		reply, err := theirs.CreateReply(msg, 7, src)
		if err != nil {
			t.Fatal(err)
		}
		raw := append([]byte{typeCookie, 0, 0, 0, 7, 0, 0, 0}, append(reply.Nonce[:], reply.Cookie[:]...)...)
		value, ok := known.open(hub, raw)
		if !ok {
			t.Fatal("a cookie was not taken")
		}
		jars[i].put(hub, value, now)
		for _, bad := range []struct {
			from netip.AddrPort
			raw  []byte
		}{{netip.MustParseAddrPort("192.0.2.9:51820"), raw}, {hub, raw[:40]}, {hub, bytes.Repeat([]byte{3}, cookieSize)}} {
			if _, ok := known.open(bad.from, bad.raw); ok {
				t.Errorf("taken from %v: %x", bad.from, bad.raw)
			}
		}
	}
	next := make([]byte, callSize)
	next[0], next[20] = typeCall, 1
	ours.AddMacs(next)
	for i, src := range sources {
		stamped := jars[i].stamp(hub, next, now.Add(time.Minute))
		if !theirs.CheckMAC1(stamped) || !theirs.CheckMAC2(stamped, src) || theirs.CheckMAC2(stamped, sources[1-i]) {
			t.Errorf("path %d: the stamped call is not let in by its own address only", i)
		}
		if late := jars[i].stamp(hub, next, now.Add(device.CookieRefreshTime)); !bytes.Equal(late, next) {
			t.Errorf("path %d: stamped with a stale cookie", i)
		}
	}
}

// FuzzCookie: no answer of a stranger is taken, nor does it end us.
func FuzzCookie(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{3}, cookieSize))
	hub := netip.MustParseAddrPort("192.0.2.1:51820")
	c := newCalls()
	c.know(hub, [32]byte{9})
	f.Fuzz(func(t *testing.T, reply []byte) {
		if _, ok := c.open(hub, reply); ok {
			t.Fatalf("taken: %x", reply)
		}
	})
}
