package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"clinicgate/netd/notice"
	"clinicgate/netd/steer"
)

// TestLane: notices carry the nonce that came by the path, and their answers tell
// round trip and loss.
func TestLane(t *testing.T) {
	hub, key := netip.MustParseAddrPort("192.0.2.1:51820"), notice.Key{1}
	var l lane
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	if b, _ := l.next(true, 1, notice.Every, 0, now); b != nil {
		t.Error("notice without a fan")
	}
	l.lead(hub, key)
	parse := func(b []byte) notice.Notice {
		t.Helper()
		n, err := notice.Parse(b, key)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	b, to := l.next(true, 2, notice.Every, 0, now)
	first := parse(b)
	if to != hub || !first.All || first.Small != 2 || first.Nonce != [8]byte{} {
		t.Errorf("got %+v to %v", first, to)
	}
	nonce := [8]byte{5}
	answer := func(seq uint32, after time.Duration) {
		l.answer(hub, notice.Answer{Nonce: nonce, Seq: seq, Bytes: 9}.Marshal(key), now.Add(after))
	}
	answer(first.Seq, 30*time.Millisecond)
	if b, _ = l.next(true, 2, notice.Every, 0, now.Add(31*time.Millisecond)); b == nil {
		t.Fatal("no notice at once with a new nonce")
	} else if n := parse(b); n.Nonce != nonce {
		t.Errorf("nonce %x", n.Nonce)
	}
	now = now.Add(time.Second)
	for i := range 20 { // every other one is lost
		now = now.Add(notice.Every)
		b, _ := l.next(true, 2, notice.Every, 0, now)
		if i%2 == 0 {
			answer(parse(b).Seq, 20*time.Millisecond)
		}
	}
	got := l.known()
	if got.RTT != 20*time.Millisecond || got.Lost < 35 || got.Lost > 65 || got.Bytes != 9 {
		t.Errorf("got %+v", got)
	}
	before := got
	answer(first.Seq, 0) // late, and a second time
	l.answer(netip.MustParseAddrPort("192.0.2.9:1"), notice.Answer{Seq: l.seq}.Marshal(key), now)
	l.answer(hub, notice.Answer{Seq: l.seq}.Marshal(notice.Key{2}), now)
	if l.known() != before {
		t.Errorf("a stranger's or stale answer changed it: %+v", l.known())
	}
}

// TestMissing: of what is sent between two notices the fan tells how much arrived.
func TestMissing(t *testing.T) {
	hub, key := netip.MustParseAddrPort("192.0.2.1:51820"), notice.Key{1}
	var l lane
	l.lead(hub, key)
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for i, c := range []struct {
		carried, arrived uint64
		want             float64
	}{{1000, 900, 0}, {101_000, 100_900, 0}, {201_000, 175_900, 25}, {202_000, 176_000, 0}} {
		now = now.Add(time.Second)
		b, _ := l.next(true, 1, notice.Every, c.carried, now)
		n, err := notice.Parse(b, key)
		if err != nil {
			t.Fatal(err)
		}
		l.answer(hub, notice.Answer{Seq: n.Seq, Bytes: c.arrived}.Marshal(key), now.Add(time.Millisecond))
		if got := l.known().Missing; got != c.want {
			t.Errorf("%d: %v %% missing, want %v", i, got, c.want)
		}
	}
}

func TestWants(t *testing.T) {
	way := &steer.Way{All: []int{0, 1}, Small: []int{2, 0, 1}}
	for i, want := range []struct {
		all   bool
		small int
	}{{true, 2}, {true, 2}, {false, 1}, {false, 0}} {
		if all, small := wants(way, i); all != want.all || small != want.small {
			t.Errorf("path %d: got %v, %d, want %+v", i, all, small, want)
		}
	}
	way.Shares = []steer.Share{{}}
	if all, small := wants(way, 0); all || small != 2 {
		t.Errorf("dealt out: got %v, %d", all, small)
	}
}
