package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// captured is an advertisement of Debian's keepalived 2.2.7 with its IP header.
const captured = "\x45\xc0\x00\x20\x00\x01\x00\x00\xff\x70\xd0\x84\x0a\x14\x00\x02\xe0\x00\x00\x12" +
	"\x31\x14\x64\x01\x00\x64\x75\xcc\x0a\x14\x00\x01"

// captured6 is one of ours, from fe80::2 to the group.
const captured6 = "\x6c\x00\x00\x00\x00\x04\x70\xff\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" +
	"\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x12" + "\x31\x14\x64\x01"

func TestOpen4(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte) []byte
		msg    string
		hops   int
	}{
		"as captured":    {func(b []byte) []byte { return b }, captured[20:], 255},
		"padded":         {func(b []byte) []byte { return append(b, 0, 0, 0) }, captured[20:], 255},
		"options":        {func(b []byte) []byte { b[0], b[3] = 0x46, 0x20; return mend(b, 24) }, captured[24:], 255},
		"TTL 254":        {func(b []byte) []byte { b[8] = 254; return mend(b, 20) }, captured[20:], 254},
		"header changed": {func(b []byte) []byte { b[8] = 254; return b }, "", 0},
		"fragment":       {func(b []byte) []byte { b[6] = 0x20; return mend(b, 20) }, "", 0},
		"UDP":            {func(b []byte) []byte { b[9] = 17; return b }, "", 0},
		"IPv6":           {func(b []byte) []byte { b[0] = 0x65; return b }, "", 0},
		"header too big": {func(b []byte) []byte { b[0] = 0x4f; return b }, "", 0},
		"header short":   {func(b []byte) []byte { b[0] = 0x44; return b }, "", 0},
		"cut":            {func(b []byte) []byte { return b[:31] }, "", 0},
		"empty":          {func(b []byte) []byte { return nil }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, hops, err := open4(c.change([]byte(captured)))
			if c.hops != 0 {
				if err != nil || !bytes.Equal(p.Msg, []byte(c.msg)) || p.From != netip.MustParseAddr("10.20.0.2") || p.To != Group4 || hops != c.hops {
					t.Errorf("got % x from %v to %v with TTL %d, %v", p.Msg, p.From, p.To, hops, err)
				}
			} else if !errors.Is(err, ErrForeign) {
				t.Errorf("got %v, want a foreign packet", err)
			}
		})
	}
}

// mend puts the header's checksum right.
func mend(b []byte, header int) []byte {
	b[10], b[11] = 0, 0
	for s := 0; s <= 0xffff; s++ {
		if b[10], b[11] = byte(s>>8), byte(s); intact(b[:header]) {
			break
		}
	}
	return b
}

func TestOpen6(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte) []byte
		good   bool
	}{
		"good":        {func(b []byte) []byte { return b }, true},
		"padded":      {func(b []byte) []byte { return append(b, 0) }, true},
		"UDP":         {func(b []byte) []byte { b[6] = 17; return b }, false},
		"hop by hop":  {func(b []byte) []byte { b[6] = 0; return b }, false},
		"IPv4":        {func(b []byte) []byte { b[0] = 0x45; return b }, false},
		"cut":         {func(b []byte) []byte { return b[:43] }, false},
		"no header":   {func(b []byte) []byte { return b[:39] }, false},
		"hop limit 1": {func(b []byte) []byte { b[7] = 1; return b }, true}, // judged later
	} {
		t.Run(name, func(t *testing.T) {
			p, hops, err := open6(c.change([]byte(captured6)))
			if !c.good {
				if !errors.Is(err, ErrForeign) {
					t.Errorf("got %v, want a foreign packet", err)
				}
				return
			}
			if err != nil || len(p.Msg) != 4 || p.From != netip.MustParseAddr("fe80::2") || p.To != Group6 || hops == 0 {
				t.Errorf("got % x from %v to %v, hop limit %d, %v", p.Msg, p.From, p.To, hops, err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	self, other := netip.MustParseAddr("10.20.0.3"), netip.MustParseAddr("10.20.0.2")
	all, alone := &Conn{self: self, to: Group4}, &Conn{self: self, to: self}
	for name, c := range map[string]struct {
		conn *Conn
		p    Packet
		hops int
		good bool
	}{
		"to the group":                 {all, Packet{From: other, To: Group4}, 255, true},
		"TTL 254":                      {all, Packet{From: other, To: Group4}, 254, false},
		"to us, but not unicast":       {all, Packet{From: other, To: self}, 255, false},
		"unicast":                      {alone, Packet{From: other, To: self}, 255, true},
		"unicast, to the group":        {alone, Packet{From: other, To: Group4}, 255, false},
		"unicast through a router":     {alone, Packet{From: other, To: self}, 64, false},
		"IPv6 from a global address":   {&Conn{to: Group6}, Packet{From: netip.MustParseAddr("2001:db8::2"), To: Group6}, 255, false},
		"IPv6 from a link-local one":   {&Conn{to: Group6}, Packet{From: netip.MustParseAddr("fe80::2"), To: Group6}, 255, true},
		"unicast, for another machine": {alone, Packet{From: other, To: other}, 255, false},
	} {
		if err := c.conn.check(c.p, c.hops); (err == nil) != c.good || err != nil && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(captured))
	f.Add([]byte(captured6))
	f.Add([]byte{0x4f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, _, err := open4(b); err == nil && (!p.From.Is4() || len(p.Msg) > len(b)-20) {
			t.Fatalf("%v sent %d bytes of %d", p.From, len(p.Msg), len(b))
		}
		if p, _, err := open6(b); err == nil && (!p.From.Is6() || len(p.Msg) > len(b)-40) {
			t.Fatalf("%v sent %d bytes of %d", p.From, len(p.Msg), len(b))
		}
	})
}
