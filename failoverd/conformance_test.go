package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/packet"
	"clinicgate/firmware/wire"
)

// The checklist of RFC 9568 and its errata, row by row, by packets against the
// program. Virtual hardware addresses (§7.2, §7.3) have theirs in
// TestVirtualMACOnTheWire, Accept_Mode (§6.1) in TestAcceptMode, the owner (§6.4.1)
// in TestOwner. Router advertisements (§6.4.3) have none: the box sends none.
func TestConformance(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("start", b.starting)
	t.Run("send", b.sending)
	t.Run("drop", b.dropping)
	t.Run("keep", b.keeping)
	t.Run("active", b.active)
	t.Run("backup", b.backup)
	t.Run("stop", b.stopping)
}

// starting is what a router that becomes Active says first.
func (b *bench) starting(t *testing.T) {
	first := b.see(t, "advertisement", ours4)
	if first[36] != 100 {
		t.Errorf("first advertisement has priority %d", first[36])
	}
	for _, addr := range []string{"10.20.0.1", "10.20.0.9"} {
		t.Run("6.4.2 gratuitous ARP for "+addr, func(t *testing.T) { b.see(t, "ARP", garp(addr)) })
	}
	for _, addr := range []string{"fe80::20:1", "2001:db8:20::1"} {
		t.Run("8.2.2 neighbour advertisement for "+addr, func(t *testing.T) {
			f := b.see(t, "neighbour advertisement", na(addr))
			if f[58]&0xe0 != 0xa0 {
				t.Errorf("flags %#x, want router and override, not solicited", f[58])
			}
			if f[21] != 255 {
				t.Errorf("hop limit %d, want 255", f[21])
			}
			if got := net.HardwareAddr(f[80:86]).String(); f[78] != 2 || got != b.mac(b.box.space) {
				t.Errorf("option %d with %s", f[78], got)
			}
		})
	}
	b.until(false, wire.RoleMaster)
	b.until(true, wire.RoleMaster)
}

// sending looks at one advertisement of each family, byte by byte.
func (b *bench) sending(t *testing.T) {
	four, six := b.see(t, "IPv4", ours4), b.see(t, "IPv6", ours6)
	m4, m6 := four[34:], six[54:]
	for _, row := range []struct{ name, got, want string }{
		{"5.1.1.2 to 224.0.0.18", net.IP(four[30:34]).String(), "224.0.0.18"},
		{"5.1.1.2 as Ethernet multicast", net.HardwareAddr(four[:6]).String(), "01:00:5e:00:00:12"},
		{"5.1.1.1 from the primary address", net.IP(four[26:30]).String(), benchSelf},
		{"5.1.1.3 TTL", fmt.Sprint(four[22]), "255"},
		{"5.1.1.4 protocol", fmt.Sprint(four[23]), "112"},
		{"5.1.2.2 to ff02::12", net.IP(six[38:54]).String(), "ff02::12"},
		{"5.1.2.2 as Ethernet multicast", net.HardwareAddr(six[:6]).String(), "33:33:00:00:00:12"},
		{"5.1.2.1 from the link-local address", net.IP(six[22:38]).String(), b.ownLocal()},
		{"5.1.2.3 hop limit", fmt.Sprint(six[21]), "255"},
		{"5.2.1 version and type", fmt.Sprintf("%#x %#x", m4[0], m6[0]), "0x31 0x31"},
		{"5.2.3 VRID", fmt.Sprint(m4[1], m6[1]), "20 20"},
		{"5.2.4 priority", fmt.Sprint(m4[2], m6[2]), "100 100"},
		{"5.2.5 count", fmt.Sprint(m4[3], m6[3]), "2 2"},
		{"5.2.6 reserve is zero", fmt.Sprint(m4[4]>>4, m6[4]>>4), "0 0"},
		{"5.2.7 interval in centiseconds", fmt.Sprint(binary.BigEndian.Uint16(m4[4:]), binary.BigEndian.Uint16(m6[4:])), "40 40"},
		{"5.2.9 addresses", net.IP(m4[8:12]).String() + " " + net.IP(m4[12:16]).String(), "10.20.0.1 10.20.0.9"},
		{"5.2.9 first of IPv6 is link-local (8300)", net.IP(m6[8:24]).String(), "fe80::20:1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.got != row.want {
				t.Errorf("got %s, want %s", row.got, row.want)
			}
		})
	}
	t.Run("5.2.8 checksum of IPv6", func(t *testing.T) {
		size := 8 + 16*int(m6[3])
		if _, _, err := advert.Parse(m6[:size], netip.AddrFrom16([16]byte(six[22:38])), packet.Group6); err != nil {
			t.Error(err)
		}
	})
	t.Run("5.2.8 checksum of IPv4 in both forms until a peer is heard", func(t *testing.T) {
		want := map[advert.Form]bool{advert.RFC9568: true, advert.RFC5798: true}
		for range 20 {
			f := b.see(t, "IPv4", ours4)
			_, form, err := advert.Parse(f[34:50], netip.MustParseAddr(benchSelf), packet.Group4)
			if err != nil {
				t.Fatal(err)
			}
			delete(want, form)
		}
		if len(want) > 0 {
			t.Errorf("never sent: %v", want)
		}
	})
}

// ownLocal is the box's link-local address that is not shared.
func (b *bench) ownLocal() string {
	for line := range strings.Lines(b.ip(b.box.space, "-6", "-o", "addr", "show", "dev", "lan", "scope", "link")) {
		_, rest, _ := strings.Cut(line, "inet6 ")
		if a, _, _ := strings.Cut(rest, "/"); a != "fe80::20:1" {
			return a
		}
	}
	return ""
}

// dropping: each of these would make the box yield if it were taken.
func (b *bench) dropping(t *testing.T) {
	first := func(n int) func([]byte) []byte { return func(m []byte) []byte { return m[:n] } }
	for name, o := range map[string]other{
		"7.1 TTL 254":                            {hops: 254},
		"7.1 TTL 1":                              {hops: 1},
		"7.1 version 2":                          {spoil: func(m []byte) { m[0] = 0x21 }},
		"7.1 version 4":                          {spoil: func(m []byte) { m[0] = 0x41 }},
		"7.1 type 2":                             {spoil: func(m []byte) { m[0] = 0x32 }},
		"7.1 header cut":                         {cut: first(7)},
		"7.1 addresses cut":                      {cut: first(12)},
		"7.1 checksum":                           {cut: func(m []byte) []byte { m[7] ^= 1; return m }},
		"7.1 unknown VRID":                       {vrid: 21},
		"5.2.5 count 0 (8299)":                   {spoil: func(m []byte) { m[3] = 0 }},
		"5.2.7 interval 0 (8301)":                {spoil: func(m []byte) { m[4], m[5] = 0, 0 }},
		"5.2.7 interval 0, reserve set (8301)":   {spoil: func(m []byte) { m[4], m[5] = 0xf0, 0 }},
		"IPv6 7.1 hop limit 64":                  {six: true, hops: 64},
		"IPv6 7.1 version 2":                     {six: true, spoil: func(m []byte) { m[0] = 0x21 }},
		"IPv6 7.1 addresses cut":                 {six: true, cut: first(24)},
		"IPv6 7.1 checksum":                      {six: true, cut: func(m []byte) []byte { m[7] ^= 1; return m }},
		"IPv6 7.1 unknown VRID":                  {six: true, vrid: 21},
		"IPv6 5.1.2.1 from a global address":     {six: true, from: "2001:db8:20::50"},
		"IPv6 5.2.5 count 0 (8299)":              {six: true, spoil: func(m []byte) { m[3] = 0 }},
		"IPv6 5.2.7 interval 0 (8301)":           {six: true, spoil: func(m []byte) { m[4], m[5] = 0, 0 }},
		"IPv6 5.2.9 first not link-local (8300)": {six: true, spoil: func(m []byte) { m[8], m[9] = 0x20, 0x01 }},
	} {
		t.Run(name, func(t *testing.T) {
			b.again(o.six)
			since := b.state(o.six).Since
			o.priority = 254
			b.say(o)
			time.Sleep(50 * time.Millisecond)
			if g := b.state(o.six); g.Role != wire.RoleMaster || g.Since != since {
				t.Errorf("it moved: %s", g.Reason)
			}
		})
	}
}

// keeping: a router yields to these, whatever is odd about them.
func (b *bench) keeping(t *testing.T) {
	for name, o := range map[string]other{
		"nothing odd":               {},
		"5.2.8 RFC 5798's checksum": {form: advert.RFC5798},
		"5.2.6 reserve not zero":    {spoil: func(m []byte) { m[4] |= 0xf0 }},
		"7.1 other addresses":       {list: []string{"10.20.0.99"}},
		"7.1 another interval":      {interval: 200 * time.Millisecond},
		"7.1 owner (8298)":          {priority: 255},
		"behind the last address":   {cut: func(m []byte) []byte { return append(m, 1, 2, 3, 4) }},
		"IPv6 nothing odd":          {six: true},
		"IPv6 other addresses":      {six: true, list: []string{"fe80::99"}},
	} {
		t.Run(name, func(t *testing.T) {
			b.again(o.six)
			o.priority = max(o.priority, 254)
			b.say(o)
			b.until(o.six, wire.RoleBackup)
		})
	}
	b.again(false)
	b.again(true)
}

// active is §6.4.3.
func (b *bench) active(t *testing.T) {
	const atOnce = benchInterval / 2
	for name, o := range map[string]other{
		"priority 0 is answered at once":             {priority: 0},
		"a lower priority is answered at once":       {priority: 50},
		"an equal priority, lower address, at once":  {priority: 100, from: "10.20.0.10"},
		"IPv6: a lower priority is answered at once": {priority: 50, six: true},
	} {
		t.Run(name, func(t *testing.T) {
			match := ours4
			if o.six {
				match = func(f []byte) bool { return ours6(f) && net.IP(f[22:38]).String() == b.ownLocal() }
			}
			// A busy machine may be late once; a box that does not answer never has the
			// next regular one so soon.
			b.eventually("an answer before the next regular advertisement", func() bool {
				b.forget()
				b.see(t, "a regular advertisement", match)
				time.Sleep(20 * time.Millisecond) // the second form
				b.forget()
				b.say(o)
				return b.within(atOnce, match) != nil
			})
			if g := b.state(o.six); g.Role != wire.RoleMaster {
				t.Errorf("it moved: %s", g.Reason)
			}
		})
	}
	t.Run("a losing master makes it announce again", func(t *testing.T) {
		time.Sleep(1100 * time.Millisecond) // announcements have their own pace
		b.forget()
		b.say(other{priority: 50})
		b.see(t, "ARP", garp("10.20.0.1"))
	})
	t.Run("an equal priority, higher address: yields", func(t *testing.T) {
		b.say(other{priority: 100})
		b.until(false, wire.RoleBackup)
		b.again(false)
	})
	t.Run("answers ARP and neighbour solicitations", func(t *testing.T) {
		mac := b.mac(b.box.space)
		b.eventually("it answers ARP", func() bool { return b.owner() == mac })
		b.eventually("it answers neighbour solicitations", func() bool { return b.owner6() == mac })
	})
}

// backup is §6.4.2.
func (b *bench) backup(t *testing.T) {
	t.Run("does not answer ARP or neighbour solicitations", func(t *testing.T) {
		b.say(other{priority: 254, interval: 20 * time.Second})
		b.say(other{priority: 254, interval: 20 * time.Second, six: true})
		b.until(false, wire.RoleBackup)
		b.until(true, wire.RoleBackup)
		if b.owner() != "" || b.owner6() != "" {
			t.Errorf("answers at %q and %q", b.owner(), b.owner6())
		}
	})
	t.Run("adopts the interval for its timer", func(t *testing.T) {
		b.say(other{priority: 254, interval: 200 * time.Millisecond})
		b.until(false, wire.RoleMaster)
		if g := b.state(false); g.Reason != "10.20.0.50 fell silent for 722 ms" {
			t.Errorf("reason %q, want 3 intervals of 200 ms and 156/256 of one", g.Reason)
		}
	})
	t.Run("an equal priority restarts its timer", func(t *testing.T) {
		b.say(other{priority: 254, interval: time.Second})
		b.until(false, wire.RoleBackup)
		for range 9 { // 4.5 s; the timer has 3.6 s
			b.say(other{priority: 100, interval: time.Second})
			time.Sleep(500 * time.Millisecond)
		}
		if g := b.state(false); g.Role != wire.RoleBackup {
			t.Errorf("it moved: %s", g.Reason)
		}
	})
	t.Run("a lower priority does not", func(t *testing.T) {
		b.eventually("its timer runs out", func() bool {
			b.say(other{priority: 50, interval: time.Second})
			time.Sleep(100 * time.Millisecond)
			return b.state(false).Role == wire.RoleMaster
		})
		if g := b.state(false); !strings.HasPrefix(g.Reason, "priority 100 beats 50") {
			t.Errorf("%s: %s", g.Role, g.Reason)
		}
	})
	t.Run("priority 0: takes over after the skew time", func(t *testing.T) {
		b.say(other{priority: 254})
		b.until(false, wire.RoleBackup)
		b.say(other{priority: 0})
		b.until(false, wire.RoleMaster)
		if g := b.state(false); g.Reason != "10.20.0.50 stepped down" {
			t.Errorf("reason %q", g.Reason)
		}
	})
	b.again(true)
}

func (b *bench) stopping(t *testing.T) {
	b.forget()
	b.box.proc.Stop(5 * time.Second)
	t.Run("6.4.3 shutdown sends priority 0", func(t *testing.T) {
		b.see(t, "priority 0", func(f []byte) bool { return ours4(f) && f[36] == 0 })
	})
}
