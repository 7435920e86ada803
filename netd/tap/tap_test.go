package tap

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"

	"golang.org/x/sys/unix"
)

const unheard = 1 << 28

// TestCount sends datagrams, marked and not, and pings, both ways over a cable.
func TestCount(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip", "ping"))
	var box, isp *netns.Space
	for name, s := range map[string]**netns.Space{"box": &box, "isp": &isp} {
		space, err := netns.New(fmt.Sprintf("netd-tap-%d-%s", os.Getpid(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { space.Close() })
		*s = space
	}
	for _, err := range []error{netns.Veth(box, "wan1", isp, "box"), box.Addr("wan1", "198.51.100.2/24"), isp.Addr("box", "198.51.100.1/24")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var tap *Tap
	err := box.Do(func() error {
		ifc, err := net.InterfaceByName("wan1")
		if err != nil {
			return err
		}
		tap, err = Open(ifc.Index, unheard)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	expect := func(what string, out, in int) {
		t.Helper()
		o, i := 0, 0
		count := func() {
			time.Sleep(50 * time.Millisecond)
			o1, i1, err := tap.Count()
			if err != nil {
				t.Fatal(err)
			}
			o, i = o+o1, i+i1
		}
		for end := time.Now().Add(30 * time.Second); (o < out || i < in) && time.Now().Before(end); {
			count()
		}
		if count(); o != out || i != in { // and no more
			t.Errorf("%s: got %d out, %d in, want %d, %d", what, o, i, out, in)
		}
	}
	send(t, box, "198.51.100.1:9", 0, 1) // and the neighbours find each other
	expect("one out", 1, 0)
	send(t, box, "198.51.100.1:9", 0, 1000)
	expect("many out", 1000, 0)
	send(t, box, "198.51.100.1:9", unheard, 10)
	expect("unheard", 0, 0)
	send(t, isp, "198.51.100.2:9", 0, 1000)
	expect("many in", 0, 1000)
	if _, err := proc.Run(t.Context(), box, "ping", "-c", "3", "-i", "0.01", "198.51.100.1"); err != nil {
		t.Error(err)
	}
	expect("pings", 0, 0)
	tcp(t, box, isp)
	expect("a TCP connection that asks once and closes", 3, 4)
}

// tcp asks once and closes: SYN, a byte and FIN expect an answer, the ACKs between
// don't. Back come SYN+ACK, ACK, the answer, FIN.
func tcp(t *testing.T, from, to *netns.Space) {
	t.Helper()
	var l net.Listener
	err := to.Do(func() (err error) {
		l, err = net.Listen("tcp4", "198.51.100.1:7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c) // until the other end closes
			c.Close()
		}
	}()
	c, err := from.DialContext(t.Context(), "tcp4", "198.51.100.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, from *netns.Space, to string, mark, n int) {
	t.Helper()
	err := from.Do(func() error {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		}}
		c, err := d.DialContext(context.Background(), "udp4", to)
		if err != nil {
			return err
		}
		defer c.Close()
		for range n {
			if _, err := c.Write([]byte("x")); err != nil { // told that nobody listens there
				_, _ = c.Write([]byte("x"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCount is what netd pays for it, fifty times a second for each uplink.
func BenchmarkCount(b *testing.B) {
	lab.Require(b, lab.Root)
	tap, err := Open(1, unheard)
	if err != nil {
		b.Fatal(err)
	}
	defer tap.Close()
	for b.Loop() {
		_, _, _ = tap.Count()
	}
}
