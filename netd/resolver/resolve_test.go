package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/netd/config"
	"clinicgate/netd/resolver/upstream"

	"github.com/miekg/dns"
)

var (
	nine = netip.MustParseAddr("9.9.9.9")
	pc   = netip.MustParseAddr("10.20.0.50")
	cart = netip.MustParseAddr("10.21.0.60")
)

func site() config.Config {
	return config.Config{
		Zones: []config.Zone{
			{Name: "lan", Kind: config.KindStaff, Address: netip.MustParsePrefix("10.20.0.2/24")},
			{Name: "devices", Kind: config.KindDevices, Address: netip.MustParsePrefix("10.21.0.1/24")},
		},
		DNS: &config.DNS{Domain: "clinic.internal", MaxStale: 24 * time.Hour, Upstream: []netip.Addr{nine},
			Zones: []config.ResolverZone{{Name: "hospital.example", Servers: []netip.Addr{netip.MustParseAddr("10.98.2.53")}}}},
		Tunnels: []config.Tunnel{{Routes: []netip.Prefix{netip.MustParsePrefix("10.98.0.0/16")}}},
	}
}

// others are the name servers of the world: they answer every name with an address
// and count how often they were asked.
type others struct {
	mu     sync.Mutex
	asked  []string // "ADDRESS by WAY: NAME"
	silent map[int]bool
	takes  time.Duration
	answer func(question) *dns.Msg
}

func (o *others) ask(ctx context.Context, to upstream.Server, q question) (*dns.Msg, error) {
	o.mu.Lock()
	by := map[int]string{0: "a", 1: "b", upstream.Routed: "-"}[to.Way]
	o.asked = append(o.asked, to.Addr.String()+" by "+by+": "+q.name)
	silent, takes, answer := o.silent[to.Way], o.takes, o.answer
	o.mu.Unlock()
	if silent {
		takes = attemptTime
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(takes):
	}
	if silent {
		return nil, errors.New("silence")
	}
	if answer != nil {
		return answer(q), nil
	}
	return records(q, q.name+" 60 IN A 192.0.2.9"), nil
}

func records(q question, text ...string) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, AuthenticatedData: true}, Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: 1}}}
	for _, t := range text {
		rr, err := dns.NewRR(t)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func (o *others) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// start makes a resolver between two uplinks and others.
func start(t *testing.T, path string) (*Server, *others) {
	o := &others{silent: map[int]bool{}, takes: 20 * time.Millisecond}
	s := New(site(), path, func(int) uint32 { return 0 }, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	s.ctx, s.ask = ctx, o.ask
	s.Follow(uplinks(true, true), 0)
	t.Cleanup(func() { cancel(); s.hands.Wait() })
	return s, o
}

func uplinks(a, b bool) []upstream.Way {
	return []upstream.Way{{Name: "a", Usable: a}, {Name: "b", Usable: b}}
}

// dig asks as a device would and returns what it sees of the answer, with the
// reason, if one is given.
func dig(t *testing.T, s *Server, from netip.Addr, name string, edit ...func(*dns.Msg)) (*dns.Msg, string) {
	t.Helper()
	req := new(dns.Msg).SetQuestion(name, dns.TypeA)
	req.SetEdns0(1232, false)
	for _, e := range edit {
		e(req)
	}
	b, err := req.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := s.respond(s.ctx, b, from, udpSize)
	if out == nil {
		return nil, ""
	}
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		t.Fatal(err)
	}
	said := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		said += " " + strings.Join(strings.Fields(rr.String())[1:], " ")
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, x := range opt.Option {
			if ede, ok := x.(*dns.EDNS0_EDE); ok {
				said += " (" + ede.ExtraText + ")"
			}
		}
	}
	if m.Id != req.Id || m.AuthenticatedData || !m.RecursionAvailable {
		t.Errorf("%s: header %+v", name, m.MsgHdr)
	}
	return m, said
}

func expect(t *testing.T, s *Server, name, want string) {
	t.Helper()
	if _, got := dig(t, s, pc, name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

const old9 = "NOERROR 30 IN A 192.0.2.9 (no name server answers)"

// TestStale: what was known serves while nobody answers, at once when no uplink is
// usable, and after a power cut.
func TestStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, path)
		expect(t, s, "a.example.", "NOERROR 60 IN A 192.0.2.9")
		time.Sleep(10 * time.Second)
		expect(t, s, "A.Example.", "NOERROR 50 IN A 192.0.2.9")
		time.Sleep(time.Minute)
		o.set(func() { o.silent[0], o.silent[1] = true, true })
		begin := time.Now()
		expect(t, s, "a.example.", old9)
		if took := time.Since(begin); took != stalePatience {
			t.Errorf("an old answer after %v", took)
		}
		time.Sleep(5 * time.Second)
		begin = time.Now()
		expect(t, s, "a.example.", old9)
		if took := time.Since(begin); took != 0 && took != stalePatience {
			t.Errorf("again after %v", took)
		}
		s.Follow(uplinks(false, false), -1)
		time.Sleep(10 * time.Second)
		begin = time.Now()
		expect(t, s, "a.example.", old9)
		expect(t, s, "cold.example.", "SERVFAIL (no internet provider can be used)")
		if took := time.Since(begin); took != 0 {
			t.Errorf("without an uplink: %v, want no wait", took)
		}
		s.save()
		if _, faults := s.State(); len(faults) != 1 || faults[0].ID != "dns.stale" {
			t.Errorf("faults %+v", faults)
		}
		after, _ := start(t, path)
		after.Follow(uplinks(false, false), -1)
		expect(t, after, "a.example.", old9)
		time.Sleep(25 * time.Hour)
		expect(t, s, "a.example.", "SERVFAIL (no internet provider can be used)")
		s.Follow(uplinks(true, true), 0)
		o.set(func() { o.silent = map[int]bool{} })
		expect(t, s, "a.example.", "NOERROR 60 IN A 192.0.2.9")
	})
}

// TestHedge: a silent uplink costs a fraction of a second, and then nothing.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, "")
		o.set(func() { o.silent[0] = true })
		begin := time.Now()
		expect(t, s, "a.example.", "NOERROR 60 IN A 192.0.2.9")
		if took := time.Since(begin); took != hedgeMost+20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		time.Sleep(3 * time.Second)
		o.set(func() { o.silent[0], o.silent[1] = true, true })
		begin = time.Now()
		expect(t, s, "c.example.", "SERVFAIL (no name server answers)")
		if took := time.Since(begin); took > patience {
			t.Errorf("took %v", took)
		}
		begin, o.asked = time.Now(), nil
		expect(t, s, "c.example.", "SERVFAIL (no name server answered a moment ago)")
		if took := time.Since(begin); took != 0 || len(o.asked) != 0 {
			t.Errorf("asked again after %v: %v", took, o.asked)
		}
		if _, faults := s.State(); len(faults) != 1 || faults[0].ID != "dns.silent" {
			t.Errorf("faults %+v", faults)
		}
	})
}

// TestTogether: the same question of many is asked once.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, "")
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { expect(t, s, "a.example.", "NOERROR 60 IN A 192.0.2.9") })
		}
		all.Wait()
		if len(o.asked) != 1 {
			t.Errorf("asked %v", o.asked)
		}
	})
}

// TestWhoIsAsked: each zone its own servers, by ways that can reach them.
func TestWhoIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, "")
		for _, c := range []struct{ name, said, asked string }{
			{"x.hospital.example.", "NOERROR 60 IN A 10.98.2.10", "10.98.2.53 by -: x.hospital.example."},
			{"evil.example.", "REFUSED (a public name with a private address)", "9.9.9.9 by a: evil.example."},
			{"gateway.internal.", "NOERROR 60 IN A 10.20.0.2", ""},
			{"nobody.internal.", "NXDOMAIN", ""},
		} {
			o.set(func() {
				o.asked = nil
				o.answer = func(q question) *dns.Msg { return records(q, q.name+" 60 IN A 10.98.2.10") }
			})
			expect(t, s, c.name, c.said)
			if got := strings.Join(o.asked, ", "); got != c.asked {
				t.Errorf("%s: asked %q, want %q", c.name, got, c.asked)
			}
		}
		s.Follow(uplinks(false, true), 1)
		o.set(func() { o.asked, o.answer = nil, nil })
		expect(t, s, "b.example.", "NOERROR 60 IN A 192.0.2.9")
		if got := strings.Join(o.asked, ", "); got != "9.9.9.9 by b: b.example." {
			t.Errorf("with a down: asked %q", got)
		}
		if _, got := dig(t, s, cart, "b.example."); got != "REFUSED (this zone may ask for the clinic's names only)" {
			t.Errorf("a medical device got %q", got)
		}
		if _, got := dig(t, s, cart, "gateway.internal."); got != "NOERROR 60 IN A 10.21.0.1" {
			t.Errorf("a medical device got %q", got)
		}
		if m, got := dig(t, s, netip.MustParseAddr("203.0.113.5"), "gateway.internal."); m != nil {
			t.Errorf("a stranger got %q", got)
		}
	})
}

// TestForm: questions that are none.
func TestForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, "")
		for name, c := range map[string]struct {
			edit func(*dns.Msg)
			want string
		}{
			"transfer":     {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, "REFUSED"},
			"version":      {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "REFUSED"},
			"update":       {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "NOTIMP"},
			"two":          {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR"},
			"later EDNS":   {func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }, "BADVERS"},
			"any":          {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeANY }, "NOERROR 3600 IN HINFO \"RFC8482\" \"\""},
			"no recursion": {func(m *dns.Msg) { m.RecursionDesired = false }, "REFUSED (ask for recursion)"},
		} {
			if m, got := dig(t, s, pc, "a.example.", c.edit); got != c.want && !(c.want == "BADVERS" && m.Rcode == dns.RcodeBadVers) {
				t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
		}
		if len(o.asked) != 0 {
			t.Errorf("asked %v", o.asked)
		}
		answer := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
		answer.Response = true
		b, _ := answer.Pack()
		if out := s.respond(s.ctx, b, pc, udpSize); out != nil {
			t.Error("an answer was answered: two servers could go on for ever")
		}
		if out := s.respond(s.ctx, append(b[:2:2], 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 7), pc, udpSize); len(out) != 12 || out[3]&15 != dns.RcodeFormatError {
			t.Errorf("nonsense: %v", out)
		}
	})
}

// TestSize: what does not fit is cut, for the device to ask by TCP.
func TestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := start(t, "")
		o.answer = func(q question) *dns.Msg {
			var all []string
			for range 60 {
				all = append(all, q.name+" 60 IN TXT \""+strings.Repeat("x", 30+len(all))+"\"")
			}
			return records(q, all...)
		}
		for size, most := range map[uint16]int{512: 512, 1232: 1232, 4096: udpSize} {
			req := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
			req.SetEdns0(size, false)
			b, _ := req.Pack()
			out := s.respond(s.ctx, b, pc, udpSize)
			if len(out) > most || out[2]&2 == 0 {
				t.Errorf("%d: %d bytes, flags %x", size, len(out), out[2])
			}
			if out := s.respond(s.ctx, b, pc, 1<<16-1); len(out) < 3000 || out[2]&2 != 0 {
				t.Errorf("by TCP: %d bytes, want all", len(out))
			}
		}
	})
}

// A device's bytes are answered within the bounds, or not at all.
func FuzzRespond(f *testing.F) {
	b, _ := new(dns.Msg).SetQuestion("a.internal.", dns.TypeA).Pack()
	f.Add(b)
	f.Add(append(b, 0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0))
	c := site()
	c.DNS.Upstream, c.DNS.Zones = nil, nil
	s := New(c, "", func(int) uint32 { return 0 }, slog.New(slog.DiscardHandler))
	s.ctx = f.Context()
	f.Fuzz(func(t *testing.T, b []byte) {
		if out := s.respond(s.ctx, b, pc, udpSize); len(out) > udpSize || len(out) > 0 && len(out) < 12 {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

// TestOneDevice: a device with too many questions out hears nothing more; others do.
func TestOneDevice(t *testing.T) {
	s := New(site(), "", func(int) uint32 { return 0 }, slog.New(slog.DiscardHandler))
	for i := range 2 * maxOne {
		if got := s.wait(pc); got != (i < maxOne) {
			t.Fatalf("question %d: %v", i, got)
		}
	}
	if !s.wait(cart) {
		t.Error("another device is refused")
	}
	for range maxOne {
		s.done(pc)
	}
	if s.done(cart); len(s.waiting) != 0 || !s.wait(pc) {
		t.Errorf("waiting %v", s.waiting)
	}
}
