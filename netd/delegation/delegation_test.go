package delegation

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"clinicgate/firmware/durable"
)

var (
	start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	us    = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	them  = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	ours  = [4]byte{0, 0, 0, 1}
)

func prefixOption(text string, preferred, valid time.Duration) *dhcpv6.OptIAPrefix {
	_, n, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return &dhcpv6.OptIAPrefix{PreferredLifetime: preferred, ValidLifetime: valid, Prefix: n}
}

// reply is a server's answer with a prefix, and what edit makes of it.
func reply(edit func(*dhcpv6.Message, *dhcpv6.OptIAPD)) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(us))
	m.AddOption(dhcpv6.OptServerID(them))
	pd := &dhcpv6.OptIAPD{IaId: ours, T1: time.Hour, T2: 90 * time.Minute}
	if edit == nil {
		edit = func(*dhcpv6.Message, *dhcpv6.OptIAPD) {}
	}
	edit(m, pd)
	if len(pd.Options.Options) == 0 {
		pd.Options.Add(prefixOption("2001:db8:a00::/56", time.Hour, 2*time.Hour))
	}
	m.AddOption(pd)
	return m
}

func status(code iana.StatusCode) *dhcpv6.OptStatusCode {
	return &dhcpv6.OptStatusCode{StatusCode: code}
}

func TestAccept(t *testing.T) {
	type edit = func(*dhcpv6.Message, *dhcpv6.OptIAPD)
	with := func(p ...*dhcpv6.OptIAPrefix) edit {
		return func(_ *dhcpv6.Message, pd *dhcpv6.OptIAPD) {
			for _, o := range p {
				pd.Options.Add(o)
			}
		}
	}
	for name, c := range map[string]struct {
		edit edit
		want string // prefix, or what is wrong
	}{
		"as it should be":            {nil, "2001:db8:a00::/56"},
		"host bits":                  {with(&dhcpv6.OptIAPrefix{ValidLifetime: time.Hour, Prefix: &net.IPNet{IP: net.ParseIP("2001:db8:a00::1"), Mask: net.CIDRMask(56, 128)}}), "2001:db8:a00::/56"},
		"the first is over":          {with(prefixOption("2001:db8:1::/56", 0, 0), prefixOption("2001:db8:2::/56", 0, time.Hour)), "2001:db8:2::/56"},
		"too long to share":          {with(prefixOption("2001:db8:1::/65", 0, time.Hour)), "the server offers nothing usable"},
		"the whole internet":         {with(prefixOption("2000::/3", 0, time.Hour)), "the server offers nothing usable"},
		"nobody's but the clinic's":  {with(prefixOption("fd00::/56", 0, time.Hour)), "the server offers nothing usable"},
		"link-local":                 {with(prefixOption("fe80::/56", 0, time.Hour)), "the server offers nothing usable"},
		"multicast":                  {with(prefixOption("ff02::/56", 0, time.Hour)), "the server offers nothing usable"},
		"preferred for ever":         {with(prefixOption("2001:db8:1::/56", 2*time.Hour, time.Hour)), "the server offers nothing usable"},
		"someone else's association": {func(_ *dhcpv6.Message, pd *dhcpv6.OptIAPD) { pd.IaId = [4]byte{9} }, "the server offers nothing usable"},
		"no prefix there": {func(_ *dhcpv6.Message, pd *dhcpv6.OptIAPD) {
			pd.Options.Add(status(iana.StatusNoPrefixAvail))
		}, "the server says NoPrefixAvail"},
		"not us": {func(m *dhcpv6.Message, _ *dhcpv6.OptIAPD) { m.AddOption(status(iana.StatusUnspecFail)) }, "the server says"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := accept(reply(c.edit), ours, start)
			got := l.Prefix.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestAddressOnly: an address is taken too, and kept without a prefix.
func TestAddressOnly(t *testing.T) {
	m := reply(func(m *dhcpv6.Message, pd *dhcpv6.OptIAPD) {
		pd.Options.Add(status(iana.StatusNoPrefixAvail))
		na := &dhcpv6.OptIANA{IaId: ours}
		na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8:a::64"), PreferredLifetime: time.Hour, ValidLifetime: 2 * time.Hour})
		m.AddOption(na)
	})
	l, err := accept(m, ours, start)
	if err != nil || l.Prefix.IsValid() || l.Address.String() != "2001:db8:a::64" || l.Expiry != start.Add(2*time.Hour) || l.T1 != start.Add(time.Hour) {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		valid, t1, t2   time.Duration
		want1, want2, x time.Duration
	}{
		"the server's":    {2 * time.Hour, time.Hour, 90 * time.Minute, time.Hour, 90 * time.Minute, 2 * time.Hour},
		"left to us":      {2 * time.Hour, 0, 0, time.Hour, 96 * time.Minute, 2 * time.Hour},
		"for ever":        {0xffffffff * time.Second, 0xffffffff * time.Second, 0xffffffff * time.Second, maxLease / 2, maxLease * 4 / 5, maxLease},
		"a second":        {time.Second, time.Second, time.Second, 30 * time.Second, 48 * time.Second, time.Minute},
		"later than over": {time.Hour, 2 * time.Hour, 3 * time.Hour, 30 * time.Minute, 48 * time.Minute, time.Hour},
	} {
		var l Lease
		l.times(c.valid, c.t1, c.t2, start)
		if l.T1.Sub(start) != c.want1 || l.T2.Sub(start) != c.want2 || l.Expiry.Sub(start) != c.x {
			t.Errorf("%s: got %v, %v, %v", name, l.T1.Sub(start), l.T2.Sub(start), l.Expiry.Sub(start))
		}
	}
}

func TestNext(t *testing.T) {
	l := Lease{T1: start, T2: start.Add(time.Hour), Expiry: start.Add(100 * time.Minute)}
	for _, c := range []struct{ at, want time.Duration }{
		{0, 30 * time.Minute}, {59*time.Minute + 50*time.Second, time.Hour}, {time.Hour, 80 * time.Minute}, {99*time.Minute + 45*time.Second, 100 * time.Minute},
	} {
		if got := l.next(start.Add(c.at)).Sub(start); got != c.want {
			t.Errorf("at %v: got %v, want %v", c.at, got, c.want)
		}
	}
}

// TestAnswer: only the answer to our question, from the server we asked.
func TestAnswer(t *testing.T) {
	ask := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeRenew, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	ask.AddOption(dhcpv6.OptClientID(us))
	good := reply(nil)
	if _, err := answer(good.ToBytes(), ask, dhcpv6.MessageTypeReply, them.ToBytes()); err != nil {
		t.Error(err)
	}
	for name, b := range map[string][]byte{
		"another type":        func() []byte { m := reply(nil); m.MessageType = dhcpv6.MessageTypeAdvertise; return m.ToBytes() }(),
		"another transaction": func() []byte { m := reply(nil); m.TransactionID[0] = 9; return m.ToBytes() }(),
		"another client":      func() []byte { m := reply(nil); m.UpdateOption(dhcpv6.OptClientID(them)); return m.ToBytes() }(),
		"another server":      func() []byte { m := reply(nil); m.UpdateOption(dhcpv6.OptServerID(us)); return m.ToBytes() }(),
		"no server":           func() []byte { m := reply(nil); m.Options.Del(dhcpv6.OptionServerID); return m.ToBytes() }(),
		"cut":                 good.ToBytes()[:20],
		"long":                append(good.ToBytes(), make([]byte, maxMessage)...),
		"nothing":             nil,
	} {
		if _, err := answer(b, ask, dhcpv6.MessageTypeReply, them.ToBytes()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prefix.json")
	if l, err := durable.ReadJSON[Lease](path, maxFile); l != nil || err != nil {
		t.Fatalf("got %+v, %v", l, err)
	}
	l := Lease{Prefix: netip.MustParsePrefix("2001:db8:a00::/56"), Server: them.ToBytes(), Acquired: start, T1: start, T2: start, Expiry: start.Add(time.Hour)}
	if err := durable.WriteJSON(path, l, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := durable.ReadJSON[Lease](path, maxFile)
	if err != nil || got.Prefix != l.Prefix || got.Address.IsValid() || string(got.Server) != string(l.Server) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for at, want := range map[time.Duration]bool{-time.Second: false, 0: true, time.Hour - 1: true, time.Hour: false} {
		if got.reusable(start.Add(at)) != want {
			t.Errorf("reusable at %v: want %v", at, want)
		}
	}
	for _, bad := range []Lease{
		{Acquired: start, Expiry: start.Add(time.Hour)},
		{Prefix: netip.MustParsePrefix("2000::/3"), Acquired: start, Expiry: start.Add(time.Hour)},
		{Prefix: l.Prefix, Acquired: start, Expiry: start.Add(2 * maxLease)},
		{Address: netip.MustParseAddr("fe80::1"), Acquired: start, Expiry: start.Add(time.Hour)},
	} {
		if bad.reusable(start) {
			t.Errorf("reusable: %+v", bad)
		}
	}
	if err := durable.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := durable.Remove(path); err != nil {
		t.Error(err)
	}
}

func FuzzAnswer(f *testing.F) {
	ask := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	ask.AddOption(dhcpv6.OptClientID(us))
	f.Add(reply(nil).ToBytes())
	f.Add(reply(func(_ *dhcpv6.Message, pd *dhcpv6.OptIAPD) { pd.Options.Add(status(iana.StatusNoBinding)) }).ToBytes())
	f.Add([]byte{7, 1, 2, 3, 0, 25, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := answer(b, ask, dhcpv6.MessageTypeReply, nil)
		if err != nil {
			return
		}
		l, err := accept(m, ours, start)
		if err != nil {
			return
		}
		if !l.reusable(start) || l.T1.Before(start) || l.T2.Before(l.T1) || l.Expiry.Before(l.T2) {
			t.Fatalf("took %+v", l)
		}
	})
}
