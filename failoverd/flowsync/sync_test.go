package flowsync

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/twin"
)

// What the master has the other box gets: at the join, as it changes, and no more
// once it is gone. Then the roles turn round.
func TestPair(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	a := p.startA()
	put(t, a.table, 0, 100)
	a.prepare(t)
	b := p.startB()
	eventually(t, "all at the join", func() bool { return b.table.len() == 100 })
	put(t, a.table, 100, 150)
	a.table.Delete(open(7).Key)
	eventually(t, "changes", func() bool {
		_, still := b.Sync.get(open(7).Key)
		return b.table.len() == 149 && !still
	})
	b.prepare(t)
	a.Yield("lan")
	put(t, b.table, 200, 210)
	eventually(t, "the new master's", func() bool { return a.table.len() == 159 })
	if st := b.Status(); !st.Telling || !st.Told || st.Held != 0 || st.Refused != 0 || st.Dropped != 0 {
		t.Errorf("got %+v", st)
	}
	eventually(t, "lag", func() bool { st := b.Status(); return st.Lag > 0 && st.Lag < time.Second && st.Sent == 159 })
	// Restarted, a box has everything before it says that it is ready.
	a.stop()
	a = p.startA()
	a.prepare(t)
	if n := a.table.len(); n != 159 {
		t.Errorf("ready with %d connections, want 159", n)
	}
}

func (s *Sync) get(k flow.Key) (flow.Flow, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Get(k)
}

// A box that gives the addresses away before the other one was told anything still
// tells it; only then is it told itself.
func TestYieldFirst(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	a := p.startA()
	put(t, a.table, 0, 100)
	a.prepare(t)
	a.Yield("lan")
	b := p.startB()
	b.prepare(t)
	if n := b.table.len(); n != 100 {
		t.Errorf("b took over with %d connections, want 100", n)
	}
	put(t, b.table, 100, 110)
	eventually(t, "a is told", func() bool { return a.table.len() == 110 && !a.owns() })
}

// What this box carries itself is not overwritten by a box that believes it is
// master, too.
func TestOursStays(t *testing.T) {
	p := newPair(t)
	a, b := p.startA(), p.startB()
	a.prepare(t)
	b.prepare(t)
	mine := open(1)
	mine.State = flow.CloseWait
	if err := b.table.Create(mine); err != nil {
		t.Fatal(err)
	}
	put(t, a.table, 0, 3)
	eventually(t, "the others", func() bool { return b.table.len() == 3 })
	for _, f := range b.table.all() {
		if f.Key == mine.Key && f.State != flow.CloseWait {
			t.Errorf("overwritten: %+v", f)
		}
	}
}

// More changes than can be heard are made good by a listing.
func TestOverrun(t *testing.T) {
	p := newPair(t)
	p.max = 20000
	a, b := p.startA(), p.startB()
	a.prepare(t)
	eventually(t, "the session", func() bool { return a.Status().Telling && b.Status().Told })
	// As a kernel does whose buffer is full: what comes now is lost.
	eventually(t, "somebody listens", func() bool { return a.table.deafen() > 0 })
	put(t, a.table, 0, 20000)
	eventually(t, "all of them", func() bool { return b.table.len() == 20000 })
	if n := a.Status().Overruns; n == 0 {
		t.Error("the listener was never too slow: this proves nothing")
	}
}

// A box tells nothing of its own traffic, and takes nothing about its addresses.
func TestOwnTraffic(t *testing.T) {
	p := newPair(t)
	a, b := p.startA(), p.startB()
	eventually(t, "own addresses", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.local) > 0 })
	a.cfg.Own = []netip.Addr{netip.MustParseAddr("10.20.0.1")}
	a.lookLocal()
	a.prepare(t)
	to, from := open(1), open(2)
	to.Dst = flow.EndOf(netip.MustParseAddrPort("10.20.0.1:8443"))
	to.Reply = to.Inverse()
	from.Src = flow.EndOf(netip.MustParseAddrPort("127.0.0.1:8443"))
	for _, f := range []flow.Flow{to, from, open(3)} {
		if err := a.table.Create(f); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "one of three", func() bool { return b.table.len() == 1 })
	b.cfg.Own = []netip.Addr{netip.MustParseAddr("10.20.0.50")}
	b.lookLocal()
	put(t, a.table, 4, 5)
	eventually(t, "a refusal", func() bool { return b.Status().Refused == 1 })
	if n := b.table.len(); n != 1 {
		t.Errorf("%d in place, want 1", n)
	}
}

// Who doesn't hold the key gets nothing and brings nothing.
func TestOtherKey(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.keyB[0]++
	a, b := p.startA(), p.startB()
	put(t, a.table, 0, 10)
	a.prepare(t)
	b.prepare(t)
	put(t, b.table, 100, 110)
	eventually(t, "both say why", func() bool {
		return errors.Is(a.Status().Err, twin.ErrOtherKey) && errors.Is(b.Status().Err, twin.ErrOtherKey)
	})
	if a.table.len() != 10 || b.table.len() != 10 {
		t.Errorf("%d and %d in place, want 10 each", a.table.len(), b.table.len())
	}
}

// Garbage, a client without a certificate, messages out of turn: each ends its own
// session only.
func TestLiars(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	b := p.startB()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.a.Addr().AsSlice()}}
	eventually(t, "listening", func() bool {
		c, err := dialer.Dial("tcp", p.b.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	terms, err := twin.Terms(key, purpose)
	if err != nil {
		t.Fatal(err)
	}
	hello := flow.Message{Kind: flow.Hello, Ver: flow.Version, Box: [16]byte{9}}.Append(nil)
	join := func(m ...flow.Message) []byte {
		all := slices.Clone(hello)
		for _, m := range m {
			all = m.Append(all)
		}
		return all
	}
	anonymous := &tls.Config{InsecureSkipVerify: true}
	for name, c := range map[string]struct {
		terms *tls.Config // nil: no TLS
		say   []byte
	}{
		"garbage":          {nil, []byte(strings.Repeat("\x16\x03\x01garbage", 1000))},
		"no certificate":   {anonymous, join(flow.Message{Kind: flow.Put, Flow: open(1)})},
		"no hello":         {terms, flow.Message{Kind: flow.Put, Flow: open(1)}.Append(nil)},
		"other version":    {terms, flow.Message{Kind: flow.Hello, Ver: 99, Box: [16]byte{9}}.Append(nil)},
		"itself":           {terms, flow.Message{Kind: flow.Hello, Ver: flow.Version, Box: b.box}.Append(nil)},
		"pong":             {terms, join(flow.Message{Kind: flow.Pong})},
		"end before start": {terms, join(flow.Message{Kind: flow.BulkEnd})},
		"no frame":         {terms, append(join(), 200, 3, 1, 2, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := dialer.Dial("tcp", p.b.String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			conn := raw
			if c.terms != nil {
				conn = tls.Client(raw, c.terms)
			}
			conn.Write(c.say)
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			for buf := make([]byte, 512); err == nil; {
				_, err = conn.Read(buf)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the session lives on")
			}
		})
	}
	if n := b.table.len(); n != 0 {
		t.Errorf("%d connections were put in place", n)
	}
	a := p.startA()
	put(t, a.table, 0, 10)
	a.prepare(t)
	eventually(t, "the true pair meets all the same", func() bool { return b.table.len() == 10 })
}

// A session that somebody recorded is worth nothing to him.
func TestReplay(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	b := p.startB()
	var mu sync.Mutex
	var tape []byte
	wire, err := net.Listen("tcp", "127.0.0.4:0") // between the boxes
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.a.Addr().AsSlice()}}
	go func() {
		for {
			left, err := wire.Accept()
			if err != nil {
				return
			}
			right, err := from.Dial("tcp", p.b.String())
			if err != nil {
				left.Close()
				continue
			}
			go func() { copyAll(left, right, nil) }()
			go copyAll(right, left, func(b []byte) { mu.Lock(); tape = append(tape, b...); mu.Unlock() })
		}
	}()
	a := p.start(p.a, netip.MustParseAddrPort(wire.Addr().String()), key)
	put(t, a.table, 0, 10)
	a.prepare(t)
	eventually(t, "all at the join", func() bool { return b.table.len() == 10 })
	a.stop()
	b.stop()
	b = p.startB()
	var conn net.Conn
	eventually(t, "listening again", func() bool { conn, err = from.Dial("tcp", p.b.String()); return err == nil })
	defer conn.Close()
	mu.Lock()
	conn.Write(tape)
	mu.Unlock()
	eventually(t, "the refusal", func() bool { return b.Status().Refused > 0 })
	if n := b.table.len(); n != 0 || len(tape) < 400 {
		t.Errorf("%d bytes of tape put %d connections in place", len(tape), n)
	}
}

func copyAll(to, from net.Conn, hear func([]byte)) {
	defer to.Close()
	defer from.Close()
	for buf := make([]byte, 4096); ; {
		n, err := from.Read(buf)
		if hear != nil {
			hear(buf[:n])
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A claim that is called back leaves the roles as they are; one whose time runs
// out goes ahead.
func TestPrepareEnds(t *testing.T) {
	p := newPair(t)
	a := p.startA()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Prepare(ctx, "lan"); !errors.Is(err, context.Canceled) || a.owns() {
		t.Errorf("called back: %v, owner %v", err, a.owns())
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := a.Prepare(ctx, "lan"); !errors.Is(err, context.DeadlineExceeded) || !a.owns() {
		t.Errorf("time ran out: %v, owner %v", err, a.owns())
	}
}

// Four times as many connections as there is room for: the limit holds on both
// boxes, and a hundred thousand of them cost tens of megabytes, not hundreds.
func TestLimit(t *testing.T) {
	const room, many = 100_000, 130_000
	p := newPair(t)
	p.max = room
	a, b := p.startA(), p.startB()
	put(t, a.table, 0, many)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a.prepare(t)
	// One place may be between its old holder and its new one for a moment.
	eventually(t, "a full box", func() bool {
		return b.Status().Held == room && a.Status().Sent == room && b.Status().Lag < time.Second && b.table.len() == room
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := b.table.len(); n > room {
		t.Errorf("%d in place, want at most %d", n, room)
	}
	if a.Status().Dropped < many-room {
		t.Errorf("dropped %d", a.Status().Dropped)
	}
	grown := int(after.HeapAlloc-before.HeapAlloc) >> 20
	t.Logf("%d MB for both boxes and the other one's table", grown)
	if grown > 150 {
		t.Errorf("took %d MB, want at most 150", grown)
	}
}
