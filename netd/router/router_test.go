package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/netd/advert"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func yes(netip.Prefix) bool { return true }

func says(life time.Duration, prefer int, prefixes ...string) advert.Advert {
	a := advert.Advert{Lifetime: life, Prefer: prefer}
	for _, text := range prefixes { // "2001:db8::/64 valid preferred"
		f := strings.Fields(text)
		p := advert.Prefix{Prefix: netip.MustParsePrefix(f[0]), OnLink: true, Auto: true}
		p.Valid, _ = time.ParseDuration(f[1])
		p.Preferred, _ = time.ParseDuration(f[2])
		a.Prefixes = append(a.Prefixes, p)
	}
	return a
}

func one(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestRouters(t *testing.T) {
	var tab Table
	gateway := func(at time.Duration, want string) {
		t.Helper()
		if got := tab.Look(start.Add(at)).Gateway; fmt.Sprint(got) != want {
			t.Errorf("after %v: got %v, want %s", at, got, want)
		}
	}
	gateway(0, "invalid IP")
	tab.Hear(one("fe80::a"), says(30*time.Minute, 0), yes, start)
	tab.Hear(one("fe80::b"), says(time.Hour, 0), yes, start)
	gateway(0, "fe80::a") // heard first
	tab.Hear(one("fe80::b"), says(time.Hour, 1), yes, start)
	gateway(time.Minute, "fe80::b") // preferred
	tab.Hear(one("fe80::b"), says(0, 1), yes, start.Add(2*time.Minute))
	gateway(2*time.Minute, "fe80::a")
	gateway(30*time.Minute, "invalid IP")
}

// TestManyRouters: a liar with a thousand names does not push out who was there.
func TestManyRouters(t *testing.T) {
	var tab Table
	tab.Hear(one("fe80::1"), says(time.Hour, 0, "2001:db8:1::/64 1h 1h"), yes, start)
	for i := range 1000 {
		from := netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(i >> 8), 15: byte(i)})
		tab.Hear(from, says(time.Hour, 0, fmt.Sprintf("2001:db8:%x::/64 1h 1h", i+2)), yes, start)
	}
	if len(tab.routers) > maxRouters || len(tab.prefixes) > maxPrefixes {
		t.Errorf("remembers %d routers, %d prefixes", len(tab.routers), len(tab.prefixes))
	}
	if v := tab.Look(start); v.Gateway != one("fe80::1") || v.Prefixes[0] != netip.MustParsePrefix("2001:db8:1::/64") {
		t.Errorf("got %+v", v)
	}
}

func TestPrefixes(t *testing.T) {
	for name, c := range map[string]struct {
		says []string // a minute apart
		at   time.Duration
		want string
	}{
		"valid for its time":              {[]string{"2001:db8:1::/64 30m 20m"}, 29 * time.Minute, "[2001:db8:1::/64]"},
		"over":                            {[]string{"2001:db8:1::/64 30m 20m"}, 30 * time.Minute, "[]"},
		"a preferred one first":           {[]string{"2001:db8:1::/64 3h 0s", "2001:db8:2::/64 3h 2h"}, 2 * time.Minute, "[2001:db8:2::/64 2001:db8:1::/64]"},
		"can't be ended at once":          {[]string{"2001:db8:1::/64 24h 24h", "2001:db8:1::/64 0s 0s"}, 2 * time.Hour, "[2001:db8:1::/64]"},
		"but within two hours":            {[]string{"2001:db8:1::/64 24h 24h", "2001:db8:1::/64 0s 0s"}, 2*time.Hour + time.Minute, "[]"},
		"nor shortened when short":        {[]string{"2001:db8:1::/64 1h 1h", "2001:db8:1::/64 1m 1m"}, 59 * time.Minute, "[2001:db8:1::/64]"},
		"preferred for longer than valid": {[]string{"2001:db8:1::/64 1h 2h"}, time.Minute, "[]"},
		"of another length":               {[]string{"2001:db8:1::/56 1h 1h"}, time.Minute, "[]"},
		"for ever is bounded":             {[]string{"2001:db8:1::/64 1193046h 1193046h"}, Longest, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			var tab Table
			for i, s := range c.says {
				tab.Hear(one("fe80::a"), says(time.Hour, 0, s), yes, start.Add(time.Duration(i)*time.Minute))
			}
			if got := fmt.Sprint(tab.Look(start.Add(c.at)).Prefixes); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestClash: a network that the clinic has elsewhere is not taken.
func TestClash(t *testing.T) {
	var tab Table
	clinic := netip.MustParsePrefix("fd5a:1c3e:9b20::/48")
	ok := func(p netip.Prefix) bool { return !clinic.Overlaps(p) }
	tab.Hear(one("fe80::a"), says(time.Hour, 0, "fd5a:1c3e:9b20:1::/64 1h 1h", "2001:db8:1::/64 1h 1h"), ok, start)
	if got := tab.Look(start).Prefixes; !slices.Equal(got, []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}) {
		t.Errorf("got %v", got)
	}
}
