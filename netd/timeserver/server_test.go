package timeserver

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/netd/clock"
	"clinicgate/netd/config"
	"clinicgate/netd/ntp"
)

var pc = netip.MustParseAddr("10.20.0.50")

// crystal is a clock that is off and does as it is told, or refuses.
type crystal struct {
	off    time.Duration
	steps  int
	slews  int
	refuse error
}

func (c *crystal) Step(by time.Duration) error {
	if c.refuse == nil {
		c.off += by
		c.steps++
	}
	return c.refuse
}

func (c *crystal) Slew(by time.Duration) error {
	if c.refuse == nil {
		c.off += by / 2
		c.slews++
	}
	return c.refuse
}

func (c *crystal) Steer(by, _, _ time.Duration) error {
	if c.refuse == nil {
		c.off += by / 2
	}
	return c.refuse
}

// lab makes a server whose clock is off by off, and time servers at 192.0.2.N that
// are off by others; a name stands for two of them.
func lab(t *testing.T, c *crystal, servers []string, others map[string]time.Duration) *Server {
	t.Helper()
	cfg := config.Config{Zones: []config.Zone{{Address: netip.MustParsePrefix("10.20.0.2/24")}}, NTP: &config.NTP{Servers: servers}}
	lookup := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
	}
	s := New(cfg, filepath.Join(t.TempDir(), "mark"), lookup, c, slog.New(slog.DiscardHandler))
	s.exchange = func(_ context.Context, to netip.AddrPort, _ Way) (clock.Sample, error) {
		time.Sleep(20 * time.Millisecond)
		o, ok := others[to.Addr().String()]
		if !ok {
			return clock.Sample{}, errors.New("silence")
		}
		return clock.Sample{Offset: o - c.off, Delay: 20 * time.Millisecond, Root: time.Millisecond, Stratum: 2, At: time.Now()}, nil
	}
	s.Follow(Way{}, true)
	return s
}

// run keeps the clock for so long.
func run(t *testing.T, s *Server, d time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.keep(ctx)
	time.Sleep(d)
	cancel()
	synctest.Wait()
}

func ask(s *Server, mode uint8) (ntp.Packet, bool) {
	q := ntp.Packet{Version: 4, Mode: mode, Transmit: 42}
	out, ok := s.respond(q.Marshal(), pc, time.Now())
	if !ok {
		return ntp.Packet{}, false
	}
	p, err := ntp.Parse(out)
	return p, err == nil && len(out) == ntp.Size && p.Origin == 42
}

// TestBoot: a clock of 1970 is set once, and then kept.
func TestBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crystal{off: -50 * 365 * 24 * time.Hour}
		s := lab(t, c, []string{"pool.example", "192.0.2.3"}, map[string]time.Duration{"192.0.2.1": time.Millisecond, "192.0.2.2": 0, "192.0.2.3": time.Hour})
		if p, ok := ask(s, ntp.Client); !ok || p.Leap != ntp.Unsynchronised || p.Stratum != 0 {
			t.Errorf("before: %+v", p)
		}
		run(t, s, time.Minute)
		if c.steps != 1 || c.off.Abs() > 5*time.Millisecond {
			t.Errorf("after a minute: off by %v, set %d times", c.off, c.steps)
		}
		p, ok := ask(s, ntp.Client)
		if !ok || p.Leap != 0 || p.Stratum != 3 || p.RefID != [4]byte{192, 0, 2, 1} && p.RefID != [4]byte{192, 0, 2, 2} || p.RootDispersion < 10*time.Millisecond {
			t.Errorf("after: %+v", p)
		}
		w, faults := s.State()
		if !w.Known || len(w.Sources) != 3 || w.Sources[2].Believed || !w.Sources[0].Believed || len(faults) != 0 {
			t.Errorf("state %+v, faults %+v", w, faults)
		}
		if _, err := os.Stat(s.mark); err != nil {
			t.Error(err)
		}
		// Without servers it is less and less sure, and says so.
		s.Follow(Way{}, false)
		time.Sleep(24 * time.Hour)
		later, _ := ask(s, ntp.Client)
		if later.RootDispersion <= p.RootDispersion+time.Second || later.Leap != ntp.Unsynchronised {
			t.Errorf("a day later: %+v", later)
		}
	})
}

// TestNeverBack: a netd that starts again finds a clock in use, and leaves it going.
func TestNeverBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crystal{off: 30 * time.Second}
		s := lab(t, c, []string{"192.0.2.1"}, map[string]time.Duration{"192.0.2.1": 0})
		if err := os.WriteFile(s.mark, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, s, 10*time.Second)
		if c.steps != 0 || c.slews == 0 {
			t.Errorf("set %d times, slewed %d times", c.steps, c.slews)
		}
		c.off = 2 * time.Hour
		for _, p := range s.peers {
			p.since.Forget()
		}
		run(t, s, 10*time.Second)
		if _, faults := s.State(); c.steps != 0 || len(faults) != 1 || faults[0].ID != "time.far" {
			t.Errorf("set %d times, faults %+v", c.steps, faults)
		}
		if p, _ := ask(s, ntp.Client); p.Leap != ntp.Unsynchronised {
			t.Errorf("told all the same: %+v", p)
		}
	})
}

// TestDenied: a clock that can't be set is told as it is, if it is right.
func TestDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crystal{off: 20 * time.Millisecond, refuse: errors.New("steer the clock: operation not permitted")}
		s := lab(t, c, []string{"192.0.2.1"}, map[string]time.Duration{"192.0.2.1": 0})
		run(t, s, 10*time.Second)
		p, _ := ask(s, ntp.Client)
		if _, faults := s.State(); p.Leap != 0 || p.RootDispersion < 30*time.Millisecond || len(faults) != 1 || faults[0].ID != "time.denied" {
			t.Errorf("%+v, faults %+v", p, faults)
		}
	})
}

// TestNoMajority: two servers that disagree are nobody.
func TestNoMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crystal{}
		s := lab(t, c, []string{"pool.example"}, map[string]time.Duration{"192.0.2.1": time.Hour, "192.0.2.2": 0})
		run(t, s, 10*time.Minute)
		_, faults := s.State()
		if c.steps != 0 || len(faults) != 1 || faults[0].What != "2 time servers answer, and no majority of them agrees: nobody knows whether the clock is right" {
			t.Errorf("set %d times, faults %+v", c.steps, faults)
		}
	})
}

// TestRespond: who is answered, and how often.
func TestRespond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := lab(t, &crystal{}, nil, nil)
		for mode := range uint8(8) {
			_, ok := ask(s, mode)
			if want := mode == ntp.Client || mode == ntp.SymmetricActive; ok != want {
				t.Errorf("mode %d: answered %v", mode, ok)
			}
		}
		if _, ok := s.respond(ntp.Packet{Version: 4, Mode: ntp.Client}.Marshal(), netip.MustParseAddr("203.0.113.1"), time.Now()); ok {
			t.Error("a stranger is answered")
		}
		told, kissed := 0, 0
		for range 500 {
			if p, ok := ask(s, ntp.Client); ok {
				told++
				if p.RefID == [4]byte{'R', 'A', 'T', 'E'} {
					kissed++
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		if told > 20 || kissed != 1 {
			t.Errorf("of 500 in five seconds %d were answered, %d by a kiss", told, kissed)
		}
	})
}

func TestMeasure(t *testing.T) {
	sent := time.Unix(1.7e9, 0)
	got := sent.Add(30 * time.Millisecond)
	base := ntp.Packet{Stratum: 1, Receive: ntp.ToTime(sent.Add(time.Second + 10*time.Millisecond)), Transmit: ntp.ToTime(sent.Add(time.Second + 20*time.Millisecond)), RootDelay: 8 * time.Millisecond, RootDispersion: time.Millisecond}
	x, err := measure(base, sent, got)
	if err != nil || (x.Offset-time.Second).Abs() > time.Microsecond || (x.Delay-20*time.Millisecond).Abs() > time.Microsecond || (x.Root-5*time.Millisecond).Abs() > 100*time.Microsecond {
		t.Errorf("got %+v, %v", x, err)
	}
	for name, change := range map[string]func(*ntp.Packet){
		"a kiss":               func(p *ntp.Packet) { p.Stratum, p.RefID = 0, [4]byte{'D', 'E', 'N', 'Y'} },
		"no time itself":       func(p *ntp.Packet) { p.Leap = ntp.Unsynchronised },
		"no time sent":         func(p *ntp.Packet) { p.Transmit = 0 },
		"sent before received": func(p *ntp.Packet) { p.Transmit = p.Receive - 1<<20 },
		"took longer than all": func(p *ntp.Packet) { p.Transmit += 1 << 32 },
	} {
		p := base
		change(&p)
		if x, err := measure(p, sent, got); err == nil {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

func FuzzRespond(f *testing.F) {
	f.Add(ntp.Packet{Version: 4, Mode: ntp.Client}.Marshal())
	f.Add(append(ntp.Packet{Version: 3, Mode: ntp.SymmetricActive}.Marshal(), 1, 2, 3, 4))
	s := New(config.Config{Zones: []config.Zone{{Address: netip.MustParsePrefix("10.20.0.2/24")}}, NTP: &config.NTP{}}, "", nil, &crystal{}, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, ok := s.respond(b, pc, time.Now()); ok && len(out) > len(b) {
			t.Fatalf("%d bytes for %d", len(out), len(b))
		}
	})
}
