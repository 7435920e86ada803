package beacon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/netd/advert"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

var (
	a   = netip.MustParsePrefix("2001:db8:a::/64")
	b   = netip.MustParsePrefix("2001:db8:b::/64")
	ula = netip.MustParsePrefix("fd5a:1c3e:9b20::/64")
)

// text is a message as a person would say it.
func text(m advert.Advert) string {
	s := fmt.Sprintf("router %v", m.Lifetime)
	for _, p := range m.Prefixes {
		s += fmt.Sprintf(", %s %v/%v", p.Prefix, p.Preferred, p.Valid)
	}
	for _, n := range m.DNS {
		s += fmt.Sprintf(", names %s", n)
	}
	for _, n := range m.Gone {
		s += fmt.Sprintf(", names no more %s", n)
	}
	return s
}

// says are the messages of the time from up to to, a second a step.
func says(be *Beacon, from, to time.Duration) string {
	var all []string
	for at := from; at < to; at += time.Second {
		if m, due := be.Due(start.Add(at)); due {
			all = append(all, fmt.Sprintf("%v: %s", at, text(m)))
		}
	}
	return strings.Join(all, "\n")
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got:\n%s\nwant:\n%s", what, got, want)
	}
}

// TestFailover: A's prefix is for no new connection while A is dead, B's is; when
// A's prefix goes altogether, hosts hear so until the last of them has forgotten.
func TestFailover(t *testing.T) {
	be := New(nil, start)
	be.Set(State{Prefixes: []Prefix{{ula, true}, {a, true}, {b, true}}, Way: true}, start)
	all := ", fd5a:1c3e:9b20::/64 10m0s/30m0s, 2001:db8:a::/64 10m0s/30m0s, 2001:db8:b::/64 10m0s/30m0s"
	check(t, "all well", says(be, 0, 70*time.Second), "0s: router 3m0s"+all+"\n3s: router 3m0s"+all+"\n6s: router 3m0s"+all+"\n9s: router 3m0s"+all+"\n1m9s: router 3m0s"+all)
	be.Set(State{Prefixes: []Prefix{{ula, true}, {a, false}, {b, true}}, Way: true}, start.Add(80*time.Second))
	check(t, "A is dead", says(be, 80*time.Second, 81*time.Second),
		"1m20s: router 3m0s, fd5a:1c3e:9b20::/64 10m0s/30m0s, 2001:db8:a::/64 0s/30m0s, 2001:db8:b::/64 10m0s/30m0s")
	be.Set(State{Prefixes: []Prefix{{ula, true}, {b, true}}, Way: true}, start.Add(100*time.Second))
	check(t, "A's prefix is gone", says(be, 100*time.Second, 101*time.Second),
		"1m40s: router 3m0s, fd5a:1c3e:9b20::/64 10m0s/30m0s, 2001:db8:b::/64 10m0s/30m0s, 2001:db8:a::/64 0s/29m40s")
	if later := be.Now(start.Add(32 * time.Minute)); strings.Contains(text(later), "db8:a:") {
		t.Errorf("still told of: %s", text(later))
	}
}

// TestRestart: another prefix after a restart ends the one of before.
func TestRestart(t *testing.T) {
	be := New(nil, start)
	be.Set(State{Prefixes: []Prefix{{a, true}}, Way: true}, start)
	says(be, 0, time.Minute)
	again := New(be.Told(), start.Add(2*time.Minute))
	again.Set(State{Prefixes: []Prefix{{b, true}}, Way: true}, start.Add(2*time.Minute))
	check(t, "after the restart", says(again, 2*time.Minute, 2*time.Minute+time.Second),
		"2m0s: router 3m0s, 2001:db8:b::/64 10m0s/30m0s, 2001:db8:a::/64 0s/28m9s")
}

// TestNoWay: a box without a way to the internet is none, but its own network stays.
func TestNoWay(t *testing.T) {
	be := New(nil, start)
	be.Set(State{Prefixes: []Prefix{{ula, true}}}, start)
	check(t, "no provider", says(be, 0, time.Second), "0s: router 0s, fd5a:1c3e:9b20::/64 10m0s/30m0s")
}

// TestPair: the box that becomes the backup says goodbye and then nothing; one that
// starts as the backup says nothing at all.
func TestPair(t *testing.T) {
	be := New(nil, start)
	be.Set(State{Prefixes: []Prefix{{a, true}}, Way: true}, start)
	says(be, 0, time.Minute)
	be.Set(State{Prefixes: []Prefix{{a, true}}, Way: true, Silent: true}, start.Add(time.Minute))
	bye := ": router 0s, 2001:db8:a::/64 0s/30m0s"
	check(t, "goodbye", says(be, time.Minute, 10*time.Minute), "1m0s"+bye+"\n1m3s"+bye+"\n1m6s"+bye)
	other := New(nil, start)
	other.Set(State{Prefixes: []Prefix{{a, true}}, Way: true, Silent: true}, start)
	check(t, "backup", says(other, 0, 10*time.Minute), "")
}

// TestNames: hosts hear who answers names, and who no longer does: of an address that
// went with its provider's prefix, and of a box that is the backup now.
func TestNames(t *testing.T) {
	be := New(nil, start)
	box := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	be.Set(State{Prefixes: []Prefix{{a, true}}, DNS: box("2001:db8:a::2"), Way: true}, start)
	check(t, "A's", says(be, 0, time.Second), "0s: router 3m0s, 2001:db8:a::/64 10m0s/30m0s, names 2001:db8:a::2")
	be.Set(State{Prefixes: []Prefix{{ula, true}}, DNS: box("fd5a:1c3e:9b20::2"), Way: true}, start.Add(time.Minute))
	check(t, "the clinic's own", says(be, time.Minute, time.Minute+time.Second),
		"1m0s: router 3m0s, fd5a:1c3e:9b20::/64 10m0s/30m0s, 2001:db8:a::/64 0s/29m0s, names fd5a:1c3e:9b20::2, names no more 2001:db8:a::2")
	be.Set(State{Prefixes: []Prefix{{ula, true}}, DNS: box("fd5a:1c3e:9b20::2"), Way: true, Silent: true}, start.Add(20*time.Minute))
	check(t, "backup", says(be, 20*time.Minute, 20*time.Minute+time.Second),
		"20m0s: router 0s, fd5a:1c3e:9b20::/64 0s/30m0s, 2001:db8:a::/64 0s/10m0s")
	for i := range 50 {
		at := start.Add(30*time.Minute + time.Duration(i)*time.Second)
		be.Set(State{DNS: box(fmt.Sprintf("fd5a::%x", i+1))}, at)
		if m, _ := be.Due(at); len(m.Gone) > advert.MaxServers || len(be.named) > maxNamed {
			t.Fatalf("after %d: %s, remembers %d", i, text(m), len(be.named))
		}
	}
}

// TestAsked: however often hosts ask, messages to all keep their distance.
func TestAsked(t *testing.T) {
	be := New(nil, start)
	be.Set(State{Prefixes: []Prefix{{a, true}}, Way: true}, start)
	n := 0
	for at := time.Duration(0); at < 30*time.Second; at += 10 * time.Millisecond {
		be.Asked(start.Add(at))
		if _, due := be.Due(start.Add(at)); due {
			n++
		}
	}
	if n < 5 || n > 11 {
		t.Errorf("%d messages in 30 s, want one each 3 s or so", n)
	}
}

// TestBounded: a provider with another prefix each minute fills nothing.
func TestBounded(t *testing.T) {
	be := New(nil, start)
	for i := range 200 {
		now := start.Add(time.Duration(i) * time.Second)
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 7: byte(i)}), 64)
		be.Set(State{Prefixes: []Prefix{{p, true}}}, now)
		if m, _ := be.Due(now); len(m.Prefixes) > advert.MaxPrefixes || len(be.Told()) > maxTold || m.Prefixes[0].Prefix != p {
			t.Fatalf("after %d: %s, remembers %d", i, text(m), len(be.Told()))
		}
	}
}

// TestStored: what was stored by a liar, or before the clock went back, is nothing.
func TestStored(t *testing.T) {
	be := New([]Told{{Prefix: a, Until: start.Add(-time.Second)}, {Prefix: a, Until: start.Add(24 * time.Hour)}, {Until: start.Add(time.Minute)},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Until: start.Add(time.Minute)}}, start)
	if got := be.Told(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
