package ledger

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"clinicgate/failoverd/flowsync/flow"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// conn is an open TCP connection, ask a question over UDP, from a source port.
func conn(port uint16) flow.Flow { return from(port, flow.TCP, flow.Established, 432000) }
func ask(port uint16) flow.Flow  { return from(port, flow.UDP, 0, 30) }

func from(port uint16, proto, state uint8, timeout uint32) flow.Flow {
	t := flow.Tuple{
		Src: flow.EndOf(netip.AddrPortFrom(netip.MustParseAddr("10.20.0.50"), port)),
		Dst: flow.EndOf(netip.MustParseAddrPort("192.0.2.10:443")),
	}
	return flow.Flow{
		Key: flow.Key{Proto: proto, Tuple: t}, Reply: t.Inverse(), Status: flow.StatusMask, Timeout: timeout, State: state,
	}
}

// say shows messages as "put 7" and "del 7", by source port.
func say(ms []flow.Message) (all []string) {
	for _, m := range ms {
		verb := map[flow.Kind]string{flow.Put: "put", flow.Del: "del"}[m.Kind]
		all = append(all, fmt.Sprint(verb, " ", m.Flow.Src.Port))
	}
	return all
}

func want(t *testing.T, what string, got []flow.Message, want ...string) {
	t.Helper()
	if !slices.Equal(say(got), want) {
		t.Errorf("%s: got %q, want %q", what, say(got), want)
	}
}

// The life of a connection as the other box is told of it.
func TestLife(t *testing.T) {
	l := NewTold(10)
	f := conn(1)
	opening := f
	opening.State = 1
	want(t, "opening", l.Seen(opening, start))
	want(t, "established", l.Seen(f, start), "put 1")
	want(t, "the same again", l.Seen(f, start.Add(time.Second)))
	marked := f
	marked.Mark = 0x10000
	want(t, "marked", l.Seen(marked, start.Add(time.Second)), "put 1")
	closing := marked
	closing.State, closing.Timeout = flow.FinWait, 120
	want(t, "closing", l.Seen(closing, start.Add(time.Second)), "put 1")
	closing.State = 7 // TIME_WAIT
	want(t, "over", l.Seen(closing, start.Add(time.Second)), "del 1")
	want(t, "destroyed", l.Gone(f.Key))
	if l.Len() != 0 {
		t.Errorf("%d remembered, want none", l.Len())
	}
}

// A stream whose packets put off its end is told again before the copy lapses,
// and not with every listing.
func TestRenewal(t *testing.T) {
	l, f, puts := NewTold(10), ask(1), 0
	var lapse time.Time
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(Every) {
		if puts > 0 && now.After(lapse) {
			t.Fatalf("the copy lapsed at %v", lapse.Sub(start))
		}
		l.Begin()
		for _, m := range l.Seen(f, now) {
			puts++
			lapse = now.Add(time.Duration(m.Flow.Timeout) * time.Second)
		}
		want(t, "missing", l.Missing())
	}
	if puts < 20 || puts > 61 {
		t.Errorf("told %d times in an hour, want 20 to 61", puts)
	}
}

// What a listing doesn't show is ended, whatever became of its event.
func TestListing(t *testing.T) {
	l := NewTold(10)
	for p := range uint16(3) {
		l.Seen(conn(p), start)
	}
	l.Begin()
	l.Seen(conn(0), start)
	l.Seen(conn(2), start)
	l.Seen(conn(3), start) // its event was lost
	want(t, "missing", l.Missing(), "del 1")
	l.Begin()
	if gone := l.Missing(); len(gone) != 3 || l.Len() != 0 {
		t.Errorf("an empty listing ends %q, %d are left", say(gone), l.Len())
	}
}

// Without room, questions go before connections and old before young.
func TestLimit(t *testing.T) {
	l := NewTold(3)
	l.Seen(conn(1), start)
	l.Seen(ask(2), start)
	l.Seen(ask(3), start)
	want(t, "a question more", l.Seen(ask(4), start), "del 2", "put 4")
	want(t, "a connection more", l.Seen(conn(5), start), "del 3", "put 5")
	want(t, "and another", l.Seen(conn(6), start), "del 4", "put 6")
	want(t, "a question among connections", l.Seen(ask(7), start))
	want(t, "a connection among connections", l.Seen(conn(8), start), "del 1", "put 8")
	if l.Len() != 3 || l.Dropped != 5 {
		t.Errorf("%d remembered, %d dropped, want 3 and 5", l.Len(), l.Dropped)
	}
}

// A flow that was told again is young again, also when it changes its queue.
func TestQueues(t *testing.T) {
	l := New(2)
	l.Put(ask(1))
	l.Put(ask(2))
	l.Put(ask(1))
	if out, full, ok := l.Put(ask(3)); !full || !ok || out.Src.Port != 2 {
		t.Errorf("pushed out %v, want port 2", out)
	}
	long := ask(1)
	long.Timeout = 3600
	l.Put(long)
	if out, _, _ := l.Put(ask(4)); out.Src.Port != 3 {
		t.Errorf("pushed out %v, want port 3", out)
	}
	if f, ok := l.Get(ask(1).Key); !ok || f.Timeout != 3600 {
		t.Errorf("got %+v, %v", f, ok)
	}
	if l.Del(ask(9).Key) {
		t.Error("forgot what it never knew")
	}
}
