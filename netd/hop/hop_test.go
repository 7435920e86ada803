package hop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

var asked = echo{id: 7, seq: 3, cookie: 0x1122334455667788, to: netip.MustParseAddr("192.0.2.1")}

// reply is the answer of the address itself.
func reply(e echo) []byte {
	b := e.marshal()
	b[0] = typeReply
	return b
}

// quote is a router's error about e.
func quote(kind byte, e echo, content int) []byte {
	ip := make([]byte, minIP)
	ip[0], ip[9] = 0x45, protoICMP
	copy(ip[16:], e.to.AsSlice())
	return append(append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, ip...), e.marshal()[:content]...)
}

func TestAnswered(t *testing.T) {
	router := netip.MustParseAddr("100.64.1.1")
	other := asked
	other.seq = 4
	forged := asked
	forged.cookie = 1
	elsewhere := asked
	elsewhere.to = router
	for name, c := range map[string]struct {
		from netip.Addr
		b    []byte
		want Kind
	}{
		"reply":             {asked.to, reply(asked), Reply},
		"exceeded":          {router, quote(typeExceeded, asked, 8), Exceeded},
		"unreachable":       {router, quote(typeUnreachable, asked, 16), Unreachable},
		"of another":        {router, reply(asked), ""},
		"to another echo":   {asked.to, reply(other), ""},
		"without cookie":    {asked.to, reply(forged), ""},
		"our own echo":      {asked.to, asked.marshal(), ""},
		"error on another":  {router, quote(typeExceeded, other, 8), ""},
		"error elsewhere":   {router, quote(typeExceeded, elsewhere, 8), ""},
		"error cut off":     {router, quote(typeExceeded, asked, 7), ""},
		"error without any": {router, []byte{typeExceeded, 0, 0, 0, 0, 0, 0, 0}, ""},
		"nothing":           {asked.to, nil, ""},
	} {
		if kind, ok := asked.answered(c.from, c.b); ok != (c.want != "") || ok && kind != c.want {
			t.Errorf("%s: %q, %v; want %q", name, kind, ok, c.want)
		}
	}
}

func FuzzAnswered(f *testing.F) {
	f.Add(reply(asked))
	f.Add(quote(typeExceeded, asked, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, ok := asked.answered(asked.to, b)
		if ok && kind == "" {
			t.Error("an answer of no kind")
		}
	})
}

// TestHops asks over two real routers: each in turn, and the end.
func TestHops(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	var spaces []*netns.Space
	for i := range 3 {
		s, err := netns.New(fmt.Sprintf("cg-t%d-hop%d", os.Getpid(), i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		spaces = append(spaces, s)
	}
	box, router, far := spaces[0], spaces[1], spaces[2]
	for _, err := range []error{
		netns.Veth(box, "wan", router, "in"), netns.Veth(router, "out", far, "eth0"),
		box.Addr("wan", "10.0.1.2/24"), router.Addr("in", "10.0.1.1/24"), router.Addr("out", "10.0.2.1/24"), far.Addr("eth0", "10.0.2.2/24"),
		router.Forward(), box.Route("default", "10.0.1.1"), far.Route("default", "10.0.2.1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := box.Do(func() error {
		s, err := Open(t.Context(), "wan", 0)
		if err != nil {
			return err
		}
		defer s.Close()
		for ttl, want := range map[int]Answer{
			1:  {From: netip.MustParseAddr("10.0.1.1"), Kind: Exceeded},
			2:  {From: netip.MustParseAddr("10.0.2.2"), Kind: Reply},
			64: {From: netip.MustParseAddr("10.0.2.2"), Kind: Reply},
		} {
			a, err := s.Ask(netip.MustParseAddr("10.0.2.2"), ttl, uint16(ttl), 10*time.Second)
			if err != nil || a.From != want.From || a.Kind != want.Kind {
				t.Errorf("over %d hops: %+v, %v; want %+v", ttl, a, err, want)
			}
		}
		if _, err := s.Ask(netip.MustParseAddr("10.0.2.77"), 1, 9, 10*time.Second); err != nil && !errors.Is(err, ErrSilent) {
			t.Errorf("nobody there, over one hop: %v", err)
		}
		a, err := s.Ask(netip.MustParseAddr("10.9.9.9"), 64, 10, 10*time.Second)
		if err != nil || a.Kind != Unreachable || a.From != netip.MustParseAddr("10.0.1.1") {
			t.Errorf("no way: %+v, %v", a, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
