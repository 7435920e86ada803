package relay

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// TestTrunk: each VLAN gets its own frames without their tags, and what it sends
// goes out with them.
func TestTrunk(t *testing.T) {
	port := newMemEnd()
	trunk := NewTrunk(port)
	native, voice := trunk.VLAN(0), trunk.VLAN(30)
	plain := append(bytes.Repeat([]byte{0xaa}, 12), 0x08, 0x00, 'p', 'l', 'a', 'i', 'n')
	if err := voice.WriteFrame(plain); err != nil {
		t.Fatal(err)
	}
	out := <-port.out
	if want := append(append(append([]byte{}, plain[:12]...), 0x81, 0x00, 0, 30), plain[12:]...); !bytes.Equal(out, want) {
		t.Errorf("sent %x, want %x", out, want)
	}
	other := bytes.Clone(out)
	other[15] = 31 // nobody's
	for _, f := range [][]byte{other, out, plain, plain[:9]} {
		port.in <- f
	}
	buf := make([]byte, 2000)
	for _, c := range []struct {
		end  End
		want []byte
	}{{voice, plain}, {native, plain}, {native, plain[:9]}} {
		if n, err := c.end.ReadFrame(buf); err != nil || !bytes.Equal(buf[:n], c.want) {
			t.Errorf("got %x, %v, want %x", buf[:n], err, c.want)
		}
	}
	if err := trunk.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := native.ReadFrame(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the trunk was closed: %v", err)
	}
}
