package discovery

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"clinicgate/netd/advert"

	"github.com/mdlayher/ndp"
)

var link = netip.MustParseAddr("fe80::a")

func sample() advert.Advert {
	return advert.Advert{
		Lifetime: 30 * time.Minute, Managed: true,
		Prefixes: []advert.Prefix{{Prefix: netip.MustParsePrefix("2001:db8:a::/64"), OnLink: true, Auto: true, Preferred: time.Hour, Valid: 2 * time.Hour}},
		DNS:      []netip.Addr{netip.MustParseAddr("2001:db8::53")},
	}
}

func marshal(t testing.TB, a advert.Advert) []byte {
	t.Helper()
	b, err := marshalAdvert(a, []byte{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestThereAndBack(t *testing.T) {
	got, err := parseAdvert(marshal(t, sample()), link, 255)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("got %+v, %v; want %+v", got, err, sample())
	}
}

// TestRefused: what may have come from beyond the link, or is something else.
func TestRefused(t *testing.T) {
	b := marshal(t, sample())
	rs, err := ndp.MarshalMessage(&ndp.RouterSolicitation{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		from string
		hops int
	}{
		"passed on by a router": {b, "fe80::a", 254},
		"a global source":       {b, "2001:db8::1", 255},
		"cut":                   {b[:10], "fe80::a", 255},
		"an option of length 0": {append(append([]byte{}, b[:16]...), 3, 0), "fe80::a", 255},
		"another message":       {rs, "fe80::a", 255},
		"nothing":               {nil, "fe80::a", 255},
	} {
		if got, err := parseAdvert(c.b, netip.MustParseAddr(c.from), c.hops); err == nil {
			t.Errorf("%s: got %+v, want it refused", name, got)
		}
	}
	if parseSolicit(rs, netip.IPv6Unspecified(), 255) != nil || parseSolicit(rs, link, 255) != nil {
		t.Error("a host's solicitation is refused")
	}
	if parseSolicit(rs, link, 64) == nil || parseSolicit(rs, netip.MustParseAddr("2001:db8::1"), 255) == nil || parseSolicit(b, link, 255) == nil {
		t.Error("a solicitation from beyond the link is taken")
	}
}

// TestBounds: a message full of options makes a small Advert.
func TestBounds(t *testing.T) {
	big := sample()
	for i := range 100 {
		p := big.Prefixes[0]
		p.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 7: byte(i)}), 64)
		big.Prefixes = append(big.Prefixes, p)
	}
	got, err := parseAdvert(marshal(t, big), link, 255)
	if err != nil || len(got.Prefixes) != advert.MaxPrefixes {
		t.Errorf("got %d prefixes, %v", len(got.Prefixes), err)
	}
}

func TestBudget(t *testing.T) {
	now, n := time.Now(), 0
	var b budget
	for i := range 30000 {
		if b.spend(now.Add(time.Duration(i) * 100 * time.Microsecond)) {
			n++
		}
	}
	if n != 3*perSecond {
		t.Errorf("3 s of a flood: %d read, want %d", n, 3*perSecond)
	}
}

func FuzzAdvert(f *testing.F) {
	f.Add(marshal(f, sample()), uint8(255))
	f.Add(marshal(f, advert.Advert{}), uint8(255))
	f.Add([]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 200, 0xc0, 47: 0}, uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, hops uint8) {
		_ = parseSolicit(b, link, int(hops))
		a, err := parseAdvert(b, link, int(hops))
		if err != nil {
			return
		}
		if hops != 255 || len(a.Prefixes) > advert.MaxPrefixes || len(a.DNS) > advert.MaxServers || a.Lifetime < 0 || a.MTU < 0 || a.MTU > 65535 {
			t.Fatalf("took %+v", a)
		}
		for _, p := range a.Prefixes {
			if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || p.Valid < 0 || p.Preferred < 0 {
				t.Fatalf("took %+v", p)
			}
		}
	})
}
