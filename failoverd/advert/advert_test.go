package advert

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	src4 = netip.MustParseAddr("10.20.0.2")
	dst4 = netip.MustParseAddr("224.0.0.18")
	src6 = netip.MustParseAddr("fe80::2")
	dst6 = netip.MustParseAddr("ff02::12")
)

// The vectors: RFC 9568's IPv4 form and IPv6 are worked out by hand from §5.2;
// the RFC 5798 form is what Debian's keepalived 2.2.7 sent in our lab.
func TestVectors(t *testing.T) {
	for name, c := range map[string]struct {
		hex      string
		src, dst netip.Addr
		form     Form
		msg      Message
	}{
		"IPv4 RFC 9568": {
			"31 14 64 01 00 64 60 71 0a 14 00 01", src4, dst4, RFC9568,
			Message{20, 100, time.Second, []netip.Addr{netip.MustParseAddr("10.20.0.1")}},
		},
		"IPv4 RFC 5798, keepalived": {
			"31 14 64 01 00 64 75 cc 0a 14 00 01", src4, dst4, RFC5798,
			Message{20, 100, time.Second, []netip.Addr{netip.MustParseAddr("10.20.0.1")}},
		},
		"IPv6": {
			"31 14 ff 01 00 0a d3 3d fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01", src6, dst6, RFC9568,
			Message{20, 255, 100 * time.Millisecond, []netip.Addr{netip.MustParseAddr("fe80::1")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			wire := unhex(t, c.hex)
			m, form, err := Parse(wire, c.src, c.dst)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, c.msg) || form != c.form {
				t.Errorf("parsed %+v %v, want %+v %v", m, form, c.msg, c.form)
			}
			got, err := c.msg.Append(nil, c.form, c.src, c.dst)
			if err != nil || !bytes.Equal(got, wire) {
				t.Errorf("made % x, %v, want % x", got, err, wire)
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each change is made to a good message; the checksum is put right again unless
// the case is about it.
func TestRefusals(t *testing.T) {
	good := Message{20, 100, time.Second, []netip.Addr{netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("10.20.0.9")}}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"empty":             {func(b []byte) []byte { return nil }, ErrLength},
		"half a header":     {func(b []byte) []byte { return b[:7] }, ErrLength},
		"address cut":       {func(b []byte) []byte { return b[:len(b)-1] }, ErrLength},
		"version 2":         {func(b []byte) []byte { b[0] = 0x21; return b }, ErrVersion},
		"type 2":            {func(b []byte) []byte { b[0] = 0x32; return b }, ErrVersion},
		"count 0 (8299)":    {func(b []byte) []byte { b[3] = 0; return b }, ErrCount},
		"count too high":    {func(b []byte) []byte { b[3] = 3; return b }, ErrLength},
		"interval 0 (8301)": {func(b []byte) []byte { b[4], b[5] = 0, 0; return resum(b) }, ErrInterval},
		"reserve, no time":  {func(b []byte) []byte { b[4], b[5] = 0xf0, 0; return resum(b) }, ErrInterval},
		"checksum":          {func(b []byte) []byte { b[6] ^= 1; return b }, ErrChecksum},
		"priority changed":  {func(b []byte) []byte { b[2]++; return b }, ErrChecksum},
		"trailing bytes":    {func(b []byte) []byte { return append(b, 1, 2, 3) }, nil},
		"reserve nibble":    {func(b []byte) []byte { b[4] |= 0xf0; return resum(b) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := good.Append(nil, RFC9568, src4, dst4)
			if err != nil {
				t.Fatal(err)
			}
			m, _, err := Parse(c.change(b), src4, dst4)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && !reflect.DeepEqual(m, good) {
				t.Errorf("got %+v, want %+v", m, good)
			}
		})
	}
}

func resum(b []byte) []byte {
	b[6], b[7] = 0, 0
	s := ^sum(b, 0)
	b[6], b[7] = byte(s>>8), byte(s)
	return b
}

func TestFirstIPv6AddressIsLinkLocal(t *testing.T) {
	global := Message{20, 100, time.Second, []netip.Addr{netip.MustParseAddr("2001:db8::1")}}
	if _, err := global.Append(nil, RFC9568, src6, dst6); !errors.Is(err, ErrAddress) {
		t.Errorf("sent: %v", err)
	}
	global.Addresses = []netip.Addr{netip.MustParseAddr("fe80::1")}
	b, err := global.Append(nil, RFC9568, src6, dst6)
	if err != nil {
		t.Fatal(err)
	}
	b[8], b[9] = 0x20, 0x01 // the change of the first word goes into the checksum
	s := sum(b, pseudo(RFC9568, src6, dst6, len(b))) - 0
	if s == 0xffff {
		t.Fatal("checksum did not change")
	}
	b[6], b[7] = 0, 0
	s = ^sum(b, pseudo(RFC9568, src6, dst6, len(b)))
	b[6], b[7] = byte(s>>8), byte(s)
	if _, _, err := Parse(b, src6, dst6); !errors.Is(err, ErrAddress) {
		t.Errorf("received: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	one := []netip.Addr{netip.MustParseAddr("10.20.0.1")}
	for name, c := range map[string]struct {
		m    Message
		want error
	}{
		"no address":     {Message{1, 1, time.Second, nil}, ErrCount},
		"256 addresses":  {Message{1, 1, time.Second, make([]netip.Addr, 256)}, ErrCount},
		"no interval":    {Message{1, 1, 0, one}, ErrInterval},
		"too long":       {Message{1, 1, 41 * time.Second, one}, ErrInterval},
		"15 ms":          {Message{1, 1, 15 * time.Millisecond, one}, ErrInterval},
		"IPv6 from IPv4": {Message{1, 1, time.Second, []netip.Addr{src6}}, ErrAddress},
	} {
		if _, err := c.m.Append(nil, RFC9568, src4, dst4); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// What is accepted can be made again, in the same form, with the same meaning.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\x31\x14\x64\x01\x00\x64\x60\x71\x0a\x14\x00\x01"), false)
	f.Add([]byte("\x31\x14\x64\x01\x00\x64\x75\xcc\x0a\x14\x00\x01"), false)
	f.Add([]byte("\x31\x14\xff\x01\x00\x0a\xd3\x3d\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), true)
	f.Add([]byte("\x31"), false)
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		src, dst := src4, dst4
		if six {
			src, dst = src6, dst6
		}
		m, form, err := Parse(b, src, dst)
		if err != nil {
			return
		}
		wire, err := m.Append(nil, form, src, dst)
		if err != nil {
			t.Fatalf("accepted %+v but can't make it: %v", m, err)
		}
		again, form2, err := Parse(wire, src, dst)
		if err != nil || !reflect.DeepEqual(again, m) || form2 != form {
			t.Fatalf("%+v %v became %+v %v, %v", m, form, again, form2, err)
		}
	})
}
