package cable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/failoverd/beat"
	"clinicgate/failoverd/trust"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

// A side is one box's end in a namespace.
type side struct {
	*Cable
	space *netns.Space
	role  atomic.Uint32
	heard atomic.Int64
}

// every is slow: the cable counts as lost after four beats, and the machine may be busy.
const every = 500 * time.Millisecond

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func spaces(t *testing.T, name string) (a, b *netns.Space) {
	t.Helper()
	lab.Require(t, lab.Root)
	var all []*netns.Space
	for _, end := range []string{"a", "b"} {
		s, err := netns.New(fmt.Sprintf("cg-ca%d-%s%s", os.Getpid(), name, end))
		must(t, err)
		t.Cleanup(func() { s.Close() })
		all = append(all, s)
	}
	must(t, netns.Veth(all[0], "ha", all[1], "ha"), all[0].Addr("ha", "10.77.0.1/30"), all[1].Addr("ha", "10.77.0.2/30"))
	return all[0], all[1]
}

// plug runs one end; the returned function pulls it out.
func plug(t *testing.T, s *netns.Space, own, peer string, key byte) (*side, func()) {
	t.Helper()
	e := &side{space: s}
	c, err := New(Config{
		Port: "ha", Listen: netip.MustParseAddrPort(own), Peer: netip.MustParseAddrPort(peer), Key: [32]byte{key}, Every: every,
		Groups: func() []beat.Group {
			return []beat.Group{{VRID: 20, Role: beat.Role(e.role.Load()), Priority: 100, Self: netip.MustParseAddr("10.20.0.9"), Heard: time.Second, Asks: true}}
		},
		Heard: func() { e.heard.Add(1) },
	}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	must(t, err)
	e.Cable = c
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Do(func() error { return c.Run(ctx) }) }()
	var out bool
	pull := func() {
		if !out {
			out = true
			cancel()
			must(t, <-ended)
		}
	}
	t.Cleanup(pull)
	return e, pull
}

func (e *side) is(t *testing.T, want trust.Cable) {
	t.Helper()
	for end := time.Now().Add(time.Minute); e.Status(time.Now()).State != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the cable never became %d: %+v", want, e.Status(time.Now()))
		}
	}
}

// Two ends find each other, say what there is to say, and notice the other's end.
func TestCable(t *testing.T) {
	sa, sb := spaces(t, "c")
	a, _ := plug(t, sa, "10.77.0.1:7789", "10.77.0.2:7789", 1)
	a.is(t, trust.Lost)
	b, pull := plug(t, sb, "10.77.0.2:7789", "10.77.0.1:7789", 1)
	a.is(t, trust.Alive)
	b.is(t, trust.Alive)
	b.role.Store(uint32(beat.Master))
	b.Kick()
	var other trust.Other
	for end := time.Now().Add(time.Minute); !other.Master && time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, other, _ = a.Other(time.Now(), 20, false)
	}
	state, other, asks := a.Other(time.Now(), 20, false)
	if age := time.Since(other.Heard); state != trust.Alive || !other.Master || other.Priority != 100 || !asks || age < time.Second || age > time.Minute {
		t.Errorf("got %v %+v asks %v, heard %v ago", state, other, asks, age)
	}
	if _, other, _ := a.Other(time.Now(), 21, false); other.Self.IsValid() || other.Master {
		t.Errorf("a group that the other box has not: %+v", other)
	}
	pull()
	a.is(t, trust.Lost)
	again, _ := plug(t, sb, "10.77.0.2:7789", "10.77.0.1:7789", 1)
	a.is(t, trust.Alive)
	again.is(t, trust.Alive)
	if a.heard.Load() == 0 {
		t.Error("nobody was told of the beats")
	}
}

// A machine at the other end that has not the key, and one that repeats what it
// recorded, are nobody.
func TestForged(t *testing.T) {
	sa, sb := spaces(t, "f")
	a, _ := plug(t, sa, "10.77.0.1:7789", "10.77.0.2:7789", 1)
	b, pull := plug(t, sb, "10.77.0.2:7789", "10.77.0.1:7789", 1)
	a.is(t, trust.Alive)
	b.mu.Lock()
	recorded := beat.Seal(b.key, b.session.Next(nil))
	b.mu.Unlock()
	pull()
	a.is(t, trust.Lost)
	conn := dial(t, sb)
	before, heard := a.Status(time.Now()).Refused, a.heard.Load()
	var sent uint64
	for _, payload := range [][]byte{bytes.Repeat([]byte("x"), 4000), []byte("cgb1"), beat.Seal(make([]byte, 32), beat.Message{From: 5, Seq: 1 << 60})} {
		_, err := conn.Write(payload)
		must(t, err)
		sent++
	}
	// The first record is still news for this run of a, once; never again.
	for range 5 {
		_, err := conn.Write(recorded)
		must(t, err)
		sent++
	}
	for end := time.Now().Add(time.Minute); a.Status(time.Now()).Refused < before+sent-1 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if got := a.Status(time.Now()).Refused - before; got != sent-1 || a.heard.Load() > heard+1 {
		t.Errorf("%d of %d refused, %d believed", got, sent, a.heard.Load()-heard)
	}
}

func dial(t *testing.T, s *netns.Space) (conn *net.UDPConn) {
	t.Helper()
	must(t, s.Do(func() (err error) {
		conn, err = net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 77, 0, 2), Port: 7789}, &net.UDPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 7789})
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}
