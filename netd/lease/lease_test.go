package lease

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"clinicgate/firmware/durable"
)

func ack(t testing.TB, m ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(100, 64, 1, 100)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IPv4(100, 64, 1, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(100, 64, 1, 1))),
		dhcpv4.WithLeaseTime(600),
	}, m...)...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func day(text string) time.Time {
	at, _ := time.Parse(time.TimeOnly, text)
	return at.AddDate(2026, 10, 21)
}

func TestAccept(t *testing.T) {
	now := day("08:00:00")
	l, err := accept(ack(t), now)
	if err != nil {
		t.Fatal(err)
	}
	if l.Address != netip.MustParsePrefix("100.64.1.100/24") || l.Gateway != netip.MustParseAddr("100.64.1.1") || l.Server != l.Gateway {
		t.Errorf("got %+v", l)
	}
	if l.T1 != day("08:05:00") || l.T2 != day("08:08:45") || l.Expiry != day("08:10:00") {
		t.Errorf("times: got %+v", l)
	}
}

// TestLyingServer: what a server says is either refused with a reason or bounded.
func TestLyingServer(t *testing.T) {
	routes := dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, Router: net.IPv4(1, 2, 3, 4)})
	for name, c := range map[string]struct {
		m    dhcpv4.Modifier
		want string // part of the refusal; empty: accepted
	}{
		"no address":         {dhcpv4.WithYourIP(net.IPv4zero), "server offers address 0.0.0.0"},
		"multicast address":  {dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), "server offers address 224.0.0.1"},
		"loopback":           {dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)), "server offers address 127.0.0.1"},
		"half the internet":  {dhcpv4.WithNetmask(net.CIDRMask(1, 32)), "netmask 128.0.0.0, want /8"},
		"mask with holes":    {dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0)), "netmask 255.0.255.0"},
		"gateway is us":      {dhcpv4.WithRouter(net.IPv4(100, 64, 1, 100)), "no usable gateway"},
		"gateway broadcast":  {dhcpv4.WithRouter(net.IPv4bcast), "no usable gateway"},
		"no gateway":         {dhcpv4.WithoutOption(dhcpv4.OptionRouter), "no usable gateway"},
		"routes, no default": {dhcpv4.WithOption(routes), "no usable gateway"},
		"no mask":            {dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask), ""},
		"one second":         {dhcpv4.WithLeaseTime(1), ""},
		"forever":            {dhcpv4.WithLeaseTime(1<<32 - 1), ""},
		"T1 after T2":        {dhcpv4.WithGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 2, 0x57}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := accept(ack(t, c.m), day("08:00:00"))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkTimes(t, l)
		})
	}
}

func checkTimes(t *testing.T, l Lease) {
	t.Helper()
	whole := l.Expiry.Sub(l.Acquired)
	if whole < minLease || whole > maxLease || l.T1.Before(l.Acquired.Add(minLease/2)) || !l.T1.Before(l.T2) || !l.T2.Before(l.Expiry) {
		t.Errorf("times: got %+v", l)
	}
}

// TestDates follows an hour's lease whose server is gone.
func TestDates(t *testing.T) {
	l, err := accept(ack(t, dhcpv4.WithLeaseTime(3600)), day("08:00:00"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for now := l.Acquired; l.phase(now) != expired; now = l.next(now) {
		got = append(got, [...]string{"bound", "renewing", "rebinding"}[l.phase(now)]+" "+now.Format(time.TimeOnly))
	}
	want := "bound 08:00:00, renewing 08:30:00, renewing 08:41:15, renewing 08:46:52, renewing 08:49:41, renewing 08:51:05, " +
		"renewing 08:52:05, rebinding 08:52:30, rebinding 08:56:15, rebinding 08:58:07, rebinding 08:59:07"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "isp-a.json")
	if l, err := durable.ReadJSON[Lease](path, maxFile); l != nil || err != nil {
		t.Fatalf("without a file: %v, %v", l, err)
	}
	want, err := accept(ack(t), time.Now().UTC().Truncate(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteJSON(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := durable.ReadJSON[Lease](path, maxFile)
	if err != nil || got.Address != want.Address || !got.Expiry.Equal(want.Expiry) || !got.reusable(time.Now()) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got.reusable(want.Acquired.Add(-time.Hour)) {
		t.Error("used although the clock went backwards")
	}
	if got.reusable(want.Expiry) {
		t.Error("used although it ran out")
	}
	// A stop inside save leaves a stray temporary file and the old lease.
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".isp-a.json.tmp"), []byte(`{"addr`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := durable.ReadJSON[Lease](path, maxFile); err != nil || got.Address != want.Address {
		t.Errorf("after a stop: %+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := durable.ReadJSON[Lease](path, maxFile); l != nil || err == nil {
		t.Errorf("rubbish: got %v, %v", l, err)
	}
	if err := durable.Remove(path); err != nil || durable.Remove(path) != nil {
		t.Errorf("forget: %v", err)
	}
}

func FuzzAccept(f *testing.F) {
	f.Add(ack(f).ToBytes())
	f.Add(ack(f, dhcpv4.WithNetmask(net.IPMask{1, 2})).ToBytes())
	now := day("08:00:00")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := accept(p, now)
		if err != nil {
			return
		}
		checkTimes(t, l)
		if !l.reusable(now) || l.Address.Bits() < 8 || len(l.DNS) > maxDNS {
			t.Fatalf("accepted %+v", l)
		}
	})
}
