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

func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte) []byte
		msg    string
		good   bool
	}{
		"as captured":    {func(b []byte) []byte { return b }, captured[20:], true},
		"padded":         {func(b []byte) []byte { return append(b, 0, 0, 0) }, captured[20:], true},
		"options":        {func(b []byte) []byte { b[0], b[3] = 0x46, 0x20; return b }, captured[24:], true},
		"TTL 254":        {func(b []byte) []byte { b[8] = 254; return b }, "", false},
		"TTL 1":          {func(b []byte) []byte { b[8] = 1; return b }, "", false},
		"to us alone":    {func(b []byte) []byte { copy(b[16:], "\x0a\x14\x00\x03"); return b }, "", false},
		"UDP":            {func(b []byte) []byte { b[9] = 17; return b }, "", false},
		"IPv6":           {func(b []byte) []byte { b[0] = 0x65; return b }, "", false},
		"header too big": {func(b []byte) []byte { b[0] = 0x4f; return b }, "", false},
		"header short":   {func(b []byte) []byte { b[0] = 0x44; return b }, "", false},
		"cut":            {func(b []byte) []byte { return b[:31] }, "", false},
		"empty":          {func(b []byte) []byte { return nil }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			msg, from, err := open(c.change([]byte(captured)))
			if c.good {
				if err != nil || !bytes.Equal(msg, []byte(c.msg)) || from != netip.MustParseAddr("10.20.0.2") {
					t.Errorf("got % x from %v, %v", msg, from, err)
				}
			} else if !errors.Is(err, ErrForeign) {
				t.Errorf("got %v, want a foreign packet", err)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(captured))
	f.Add([]byte{0x4f})
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, from, err := open(b)
		if err == nil && (!from.Is4() || len(msg) > len(b)-20) {
			t.Fatalf("%v sent %d bytes of %d", from, len(msg), len(b))
		}
	})
}
