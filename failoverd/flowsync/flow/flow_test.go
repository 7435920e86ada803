package flow

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func end(s string) End { return EndOf(netip.MustParseAddrPort(s)) }

// natted is a workstation's connection that leaves under the pair's WAN address.
func natted() Flow {
	return Flow{
		Key:    Key{TCP, Tuple{end("10.20.0.50:40000"), end("192.0.2.10:443")}},
		Reply:  Tuple{end("192.0.2.10:443"), end("198.51.100.9:40000")},
		Status: StatusMask, Mark: 0x20000, Timeout: 432000, State: Established, Scale: [2]uint8{7, 9},
	}
}

func six() Flow {
	t := Tuple{end("[fd00::50]:5353"), end("[2001:db8::1]:53")}
	return Flow{Key: Key{UDP, t}, Reply: t.Inverse(), Status: SeenReply | Confirmed, Timeout: 30}
}

func messages() []Message {
	n := natted()
	return []Message{
		{Kind: Hello, Ver: Version, Box: [16]byte{1, 2, 3}},
		{Kind: BulkStart}, {Kind: Put, Flow: n}, {Kind: Put, Flow: six()}, {Kind: BulkEnd},
		{Kind: Del, Flow: Flow{Key: n.Key}}, {Kind: Del, Flow: Flow{Key: six().Key}},
		{Kind: Ping, Seq: 1 << 40}, {Kind: Pong, Seq: 7},
		{Kind: Note}, {Kind: Note, Text: strings.Repeat("word", 63)},
	}
}

// Whatever is said comes out as it went in, and a NATed IPv4 flow takes 39 bytes.
func TestRoundTrip(t *testing.T) {
	var stream []byte
	for _, m := range messages() {
		stream = m.Append(stream)
	}
	r := bytes.NewReader(stream)
	for i, want := range messages() {
		if got, err := Read(r); err != nil || got != want {
			t.Errorf("message %d: got %+v, %v\nwant %+v", i, got, err, want)
		}
	}
	if _, err := Read(r); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
	if got := len(Message{Kind: Put, Flow: natted()}.Append(nil)); got != 39 {
		t.Errorf("a flow takes %d bytes, want 39", got)
	}
}

// A frame that was cut anywhere is an error of its own, never an end or a message.
func TestTorn(t *testing.T) {
	whole := Message{Kind: Put, Flow: natted()}.Append(nil)
	for n := 1; n < len(whole); n++ {
		if _, err := Read(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Flow)
		want   string
	}{
		"protocol":     {func(f *Flow) { f.Proto = 1 }, "got protocol 1"},
		"status":       {func(f *Flow) { f.Status |= 1 }, "got status 0xf"},
		"unconfirmed":  {func(f *Flow) { f.Status &^= Confirmed }, "want confirmed"},
		"unanswered":   {func(f *Flow) { f.Status &^= SeenReply }, "not worth keeping"},
		"closed":       {func(f *Flow) { f.State = 8 }, "not worth keeping"},
		"opening":      {func(f *Flow) { f.State = 1 }, "not worth keeping"},
		"window scale": {func(f *Flow) { f.Scale[0] = 15 }, "got window scales [15 9]"},
		"timeout":      {func(f *Flow) { f.Timeout = 1 << 30 }, "got timeout 1073741824 s"},
		"TCP in UDP":   {func(f *Flow) { f.Proto = UDP }, "got TCP state 3 for UDP"},
	} {
		t.Run(name, func(t *testing.T) {
			f := natted()
			c.change(&f)
			_, err := Read(bytes.NewReader(Message{Kind: Put, Flow: f}.Append(nil)))
			if !errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	for name, b := range map[string][]byte{
		"kind 0": {0, 0}, "kind 200": {200, 0}, "long bulk": {byte(BulkEnd), 1, 0}, "short hello": {byte(Hello), 1, 1},
		"short put": {byte(Put), 2, 6, 4}, "family 5": {byte(Del), 2, 6, 5}, "empty del": {byte(Del), 0},
	} {
		if _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNAT(t *testing.T) {
	if f := natted(); !f.SNAT() || f.DNAT() {
		t.Errorf("%v: SNAT %v, DNAT %v", f.Key, f.SNAT(), f.DNAT())
	}
	if f := six(); f.SNAT() || f.DNAT() || f.Lasting() {
		t.Errorf("%v: SNAT %v, DNAT %v, lasting %v", f.Key, f.SNAT(), f.DNAT(), f.Lasting())
	}
}

// Any bytes: what is read is said again in the same bytes.
func FuzzRead(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.Append(nil))
	}
	f.Add([]byte{byte(Put), 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("read % x, said % x", b, again)
		}
	})
}
