package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/netd/config"
	"clinicgate/netd/steer"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
)

// A wire is a box with two uplinks to a far end that answers what it hears.
type wire struct {
	t        *testing.T
	box, far *netns.Space
	bind     *bind
	heard    chan string // "address: text"
	got      chan string // what the bind received
	ended    chan error  // of the receivers
}

var uplinks = []Path{{Dev: "wan1", Mark: 0x10000}, {Dev: "wan2", Mark: 0x20000}}

func newWire(t *testing.T) *wire {
	t.Helper()
	lab.Require(t, lab.Root)
	w := &wire{t: t, bind: newBind(uplinks), heard: make(chan string, 16), got: make(chan string, 16), ended: make(chan error, 2)}
	var err error
	for name, s := range map[string]**netns.Space{"box": &w.box, "far": &w.far} {
		if *s, err = netns.New(fmt.Sprintf("netd-wg-%d-%s", os.Getpid(), name)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*s).Close() })
	}
	w.must(w.far.Addr("lo", "192.0.2.1/32"), w.plug(0), w.plug(1))
	var server net.PacketConn
	w.must(w.far.Do(func() error {
		server, err = net.ListenPacket("udp4", "192.0.2.1:51820")
		return err
	}))
	t.Cleanup(func() { server.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			w.heard <- from.(*net.UDPAddr).IP.String() + ": " + string(buf[:n])
			_, _ = server.WriteTo([]byte("re "+string(buf[:n])), from)
		}
	}()
	return w
}

func (w *wire) must(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

// plug lays the cable of uplink i.
func (w *wire) plug(i int) error {
	dev, net := uplinks[i].Dev, fmt.Sprintf("100.64.%d.", i+1)
	if err := netns.Veth(w.box, dev, w.far, "far-"+dev); err != nil {
		return err
	}
	if err := errors.Join(w.box.Addr(dev, net+"2/24"), w.far.Addr("far-"+dev, net+"1/24")); err != nil {
		return err
	}
	// One prefix per uplink: a socket bound to a device passes over the other's.
	return w.box.RouteDev(fmt.Sprintf("192.0.2.0/%d", 30-i), dev)
}

// index is the device's, 0 for none.
func (w *wire) index(dev string) int {
	index := 0
	w.must(w.box.Do(func() error {
		if i, err := net.InterfaceByName(dev); err == nil {
			index = i.Index
		}
		return nil
	}))
	return index
}

func delLink(dev string) error {
	l, err := netlink.LinkByName(dev)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

func (w *wire) refresh(i int) {
	w.t.Helper()
	index := w.index(uplinks[i].Dev)
	w.must(w.box.Do(func() error { return w.bind.paths[i].refresh(index) }))
}

// open opens the bind and receives as WireGuard does.
func (w *wire) open() {
	w.t.Helper()
	fns, _, err := w.bind.Open(0)
	w.must(err)
	if len(fns) != len(uplinks) {
		w.t.Fatalf("%d receivers, want %d", len(fns), len(uplinks))
	}
	for _, f := range fns {
		go func() {
			bufs, sizes, eps := [][]byte{make([]byte, 100)}, make([]int, 1), make([]conn.Endpoint, 1)
			for {
				n, err := f(bufs, sizes, eps)
				if err != nil {
					w.ended <- err
					return
				}
				if n == 1 {
					w.got <- eps[0].DstToString() + ": " + string(bufs[0][:sizes[0]])
				}
			}
		}()
	}
}

// say sends text by uplink i and waits until it was heard and answered.
func (w *wire) say(i int, text string) {
	w.t.Helper()
	w.bind.way.Store(&steer.Way{All: []int{i}})
	ep, err := w.bind.ParseEndpoint("192.0.2.1:51820")
	w.must(err)
	w.must(w.bind.Send([][]byte{[]byte(text)}, ep))
	w.expect(w.heard, fmt.Sprintf("100.64.%d.2: %s", i+1, text))
	w.expect(w.got, "192.0.2.1:51820: re "+text)
}

func (w *wire) expect(c <-chan string, want string) {
	w.t.Helper()
	select {
	case got := <-c:
		if got != want {
			w.t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		w.t.Errorf("nothing, want %q", want)
	}
}

// TestBind: a datagram leaves by the uplink in use and no other, answers come in on
// all, a port that goes and comes back is followed, and only Close ends receiving.
func TestBind(t *testing.T) {
	w := newWire(t)
	ep, err := w.bind.ParseEndpoint("192.0.2.1:51820")
	w.must(err)
	w.open()
	if err := w.bind.Send([][]byte{{1}}, ep); !errors.Is(err, errNoPath) {
		t.Errorf("without an uplink: %v", err)
	}
	w.refresh(0)
	w.refresh(1)
	w.say(0, "one")
	w.say(1, "two")
	w.say(0, "three")

	w.must(w.box.Do(func() error { return delLink("wan1") }))
	w.refresh(0)
	if err := w.bind.Send([][]byte{{1}}, ep); !errors.Is(err, errNoPath) {
		t.Errorf("by a port that is gone: %v", err)
	}
	w.say(1, "four")
	w.must(w.plug(0))
	w.refresh(0)
	w.say(0, "five")
	w.refresh(0) // the same index: nothing to do
	w.say(0, "six")

	if _, _, err := w.bind.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("opened twice: %v", err)
	}
	w.must(w.bind.Close())
	for range uplinks {
		select {
		case err := <-w.ended:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("receiver ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a receiver goes on after Close")
		}
	}
}

func TestParseStatus(t *testing.T) {
	hubs := []config.Hub{{PeerKey: [32]byte{0x11}}, {PeerKey: [32]byte{0x22}}}
	st := parseStatus("private_key=00\npublic_key="+hexKey(hubs[1].PeerKey)+"\nendpoint=192.0.2.1:51820\nlast_handshake_time_sec=1795334400\nlast_handshake_time_nsec=5\n"+
		"rx_bytes=18446744073709551615\ntx_bytes=12\npublic_key="+hexKey([32]byte{0x33})+"\ntx_bytes=13\nerrno=0\n\n", hubs)
	if !st[1].Handshake.Equal(time.Unix(1795334400, 5)) || st[1].Endpoint != "192.0.2.1:51820" || st[1].Tx != 12 || st[0] != (Status{}) {
		t.Errorf("got %+v", st)
	}
	if st := parseStatus("public_key="+hexKey(hubs[0].PeerKey)+"\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n", hubs); !st[0].Handshake.IsZero() {
		t.Errorf("never: got %v", st[0].Handshake)
	}
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.key")
	for text, want := range map[string]string{
		"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=\n": "",
		"QkJC":                   "want 44 characters of base64",
		"":                       "want 44 characters of base64",
		strings.Repeat("A", 999): "want 44 characters of base64",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := ReadKey(path)
		switch {
		case want == "" && (err != nil || key[0] != 0x42):
			t.Errorf("%q: got %v, %v", text, key, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && len(text) > 4 && strings.Contains(err.Error(), text) {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	if _, err := ReadKey(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestEndpoint(t *testing.T) {
	e := &endpoint{netip.MustParseAddrPort("192.0.2.1:51820")}
	if e.DstToString() != "192.0.2.1:51820" || e.DstIP().String() != "192.0.2.1" || len(e.DstToBytes()) != 6 || e.SrcIP().IsValid() {
		t.Errorf("got %+v", e)
	}
}

// TestCopies: a datagram leaves by every path of the way, a small one by metered
// paths too, and a path that is gone stands back for the others.
func TestCopies(t *testing.T) {
	w := newWire(t)
	ep, err := w.bind.ParseEndpoint("192.0.2.1:51820")
	w.must(err)
	w.open()
	w.refresh(0)
	w.refresh(1)
	send := func(way steer.Way, text string, from ...string) {
		t.Helper()
		w.bind.way.Store(&way)
		w.must(w.bind.Send([][]byte{[]byte(text)}, ep))
		want, got := map[string]bool{}, map[string]bool{}
		for _, f := range from {
			want[f+": "+text] = true
		}
		for range from {
			select {
			case h := <-w.heard:
				got[h] = true
				<-w.got
			case <-time.After(30 * time.Second):
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v: got %v, want %v", way, got, want)
		}
	}
	const a, b = "100.64.1.2", "100.64.2.2"
	both := steer.Way{All: []int{0, 1}}
	long := strings.Repeat("x", steer.SmallSize/8)
	send(both, "one", a, b)
	send(steer.Way{All: []int{0}, Small: []int{1}}, long, a, b)
	shares := []steer.Share{{Uplink: 0, Rate: 1e6}, {Uplink: 1, Rate: 1e6, Delay: time.Second}}
	dealt := steer.Way{All: []int{0, 1}, Shares: shares}
	send(dealt, "\x04data", a)
	send(dealt, "\x01handshake", a, b)
	w.must(w.box.Do(func() error { return delLink("wan1") }))
	w.refresh(0)
	send(both, "two", b)
	send(dealt, "\x04more", b)
	w.must(w.bind.Close())
	if s := small([][]byte{make([]byte, steer.SmallSize+1), make([]byte, 10)}, &steer.Way{Small: []int{0}}); len(s) != 1 || len(s[0]) != 10 {
		t.Errorf("small: got %d datagrams", len(s))
	}
}
