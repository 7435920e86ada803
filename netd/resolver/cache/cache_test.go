package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var start = time.Unix(1.7e9, 0)

// answer makes a message from records in zone file form; sections are divided by
// an empty string.
func answer(t testing.TB, name string, qtype uint16, rcode int, records ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Response, m.Rcode = true, rcode
	section := &m.Answer
	for _, text := range records {
		if text == "" {
			section = &m.Ns
			continue
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		*section = append(*section, rr)
	}
	return m
}

const soa = "example. 300 IN SOA ns. root. 1 2 3 4 120"

func TestLife(t *testing.T) {
	for name, c := range map[string]struct {
		m    *dns.Msg
		want time.Duration
	}{
		"shortest record":  {answer(t, "a.example.", dns.TypeA, 0, "a.example. 300 IN CNAME b.example.", "b.example. 20 IN A 192.0.2.1"), 20 * time.Second},
		"a year":           {answer(t, "a.example.", dns.TypeA, 0, "a.example. 31536000 IN A 192.0.2.1"), maxTTL},
		"zero":             {answer(t, "a.example.", dns.TypeA, 0, "a.example. 0 IN A 192.0.2.1"), 0},
		"no such name":     {answer(t, "a.example.", dns.TypeA, dns.RcodeNameError, "", soa), 120 * time.Second},
		"no such type":     {answer(t, "a.example.", dns.TypeAAAA, 0, "", soa), 120 * time.Second},
		"alias of nothing": {answer(t, "a.example.", dns.TypeAAAA, 0, "a.example. 60 IN CNAME b.example.", "", soa), 60 * time.Second},
		"negative, no SOA": {answer(t, "a.example.", dns.TypeA, dns.RcodeNameError), 0},
		"negative for long": {answer(t, "a.example.", dns.TypeA, dns.RcodeNameError, "",
			"example. 864000 IN SOA ns. root. 1 2 3 4 864000"), maxNegative},
		"the alias itself": {answer(t, "a.example.", dns.TypeCNAME, 0, "a.example. 60 IN CNAME b.example."), 60 * time.Second},
		"failure":          {answer(t, "a.example.", dns.TypeA, dns.RcodeServerFailure), 0},
	} {
		if got := life(c.m); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestAges(t *testing.T) {
	c := New(10, 1<<20, time.Hour)
	k := Key{Name: "a.example.", Type: dns.TypeA}
	c.Put(k, answer(t, "a.example.", dns.TypeA, 0, "a.example. 60 IN A 192.0.2.1"), start)
	for _, x := range []struct {
		after time.Duration
		state State
		ttl   uint32
	}{
		{0, Fresh, 60}, {20 * time.Second, Fresh, 40}, {59*time.Second + 900*time.Millisecond, Fresh, 1},
		{time.Minute, Stale, 30}, {time.Hour, Stale, 30}, {time.Hour + 2*time.Minute, None, 0}, {0, None, 0},
	} {
		m, state := c.Get(k, start.Add(x.after))
		if state != x.state || state != None && m.Answer[0].Header().Ttl != x.ttl {
			t.Errorf("after %v: state %v, %v; want %v, %d", x.after, state, m, x.state, x.ttl)
		}
	}
}

// A failure does not take the old answer away; keys are apart.
func TestApart(t *testing.T) {
	c := New(10, 1<<20, time.Hour)
	k := Key{Name: "a.example.", Type: dns.TypeA}
	c.Put(k, answer(t, "a.example.", dns.TypeA, 0, "a.example. 60 IN A 192.0.2.1"), start)
	c.Put(k, answer(t, "a.example.", dns.TypeA, dns.RcodeServerFailure), start.Add(time.Minute))
	if _, s := c.Get(k, start.Add(2*time.Minute)); s != Stale {
		t.Errorf("after a failure: state %v", s)
	}
	for _, other := range []Key{{Name: "a.example.", Type: dns.TypeA, DO: true}, {Name: "a.example.", Type: dns.TypeA, CD: true}, {Name: "a.example.", Type: dns.TypeAAAA}} {
		if _, s := c.Get(other, start); s != None {
			t.Errorf("%+v: state %v", other, s)
		}
	}
}

func TestBounds(t *testing.T) {
	c := New(100, 20_000, time.Hour)
	for i := range 10_000 {
		name := fmt.Sprintf("h%d.example.", i)
		c.Put(Key{Name: name, Type: dns.TypeA}, answer(t, name, dns.TypeA, 0, name+" 60 IN A 192.0.2.1"), start)
		c.Get(Key{Name: "h0.example.", Type: dns.TypeA}, start) // asked for all the time
	}
	names, bytes := c.Size()
	if names > 100 || bytes > 20_000 || names < 40 {
		t.Errorf("%d names, %d bytes", names, bytes)
	}
	if _, s := c.Get(Key{Name: "h0.example.", Type: dns.TypeA}, start); s != Fresh {
		t.Error("the one that is asked for most is gone")
	}
}

func stored(t testing.TB) (*Cache, Key) {
	c := New(100, 1<<20, time.Hour)
	for i := range 5 {
		name := fmt.Sprintf("h%d.example.", i)
		c.Put(Key{Name: name, Type: dns.TypeA, DO: i%2 == 0}, answer(t, name, dns.TypeA, 0, name+" 60 IN A 192.0.2.1"), start)
	}
	return c, Key{Name: "h0.example.", Type: dns.TypeA, DO: true}
}

// What was saved serves after a power cut, with any clock; a torn file serves nobody.
func TestSaved(t *testing.T) {
	c, k := stored(t)
	b := c.Save()
	for _, x := range []struct {
		off   time.Duration
		state State
	}{{10 * time.Second, Fresh}, {10 * time.Minute, Stale}, {2 * time.Hour, None}, {-400000 * time.Hour, Stale}} {
		back := New(100, 1<<20, time.Hour)
		if err := back.Load(b, start.Add(x.off)); err != nil {
			t.Fatal(err)
		}
		if _, s := back.Get(k, start.Add(x.off)); s != x.state {
			t.Errorf("clock off by %v: state %v, want %v", x.off, s, x.state)
		}
	}
	for cut := range b {
		if err := New(100, 1<<20, time.Hour).Load(b[:cut], start); err == nil {
			t.Fatalf("cut at %d: accepted", cut)
		}
	}
}

func FuzzLoad(f *testing.F) {
	c, _ := stored(f)
	f.Add(c.Save()[len(magic):])
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(10, 1<<16, time.Hour)
		r := reader{b: b}
		_ = r.take(int(r.number(2)))
		_ = c.Load(append([]byte(magic), b...), start) // whatever it says
		if names, bytes := c.Size(); names > 10 || bytes > 1<<16 {
			t.Fatalf("%d names, %d bytes", names, bytes)
		}
	})
}
