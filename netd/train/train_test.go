package train

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// room returns a datagram of n bytes with room for a train behind it, as
// WireGuard's buffers have.
func room(n int, fill byte) []byte {
	return append(make([]byte, 0, 1<<16-1), bytes.Repeat([]byte{fill}, n)...)
}

// TestTrains: equal datagrams go as one train, a smaller one ends it, and the
// datagrams are as they were.
func TestTrains(t *testing.T) {
	for name, c := range map[string]struct {
		sizes []int
		want  string // bytes/size of the cars
	}{
		"one":              {[]int{100}, "[100/0]"},
		"equal":            {[]int{100, 100, 100}, "[300/100]"},
		"smaller at last":  {[]int{100, 100, 60}, "[260/100]"},
		"smaller between":  {[]int{100, 60, 100, 100}, "[160/100 200/100]"},
		"two smaller":      {[]int{100, 60, 60}, "[160/100 60/0]"},
		"growing":          {[]int{60, 100}, "[60/0 100/0]"},
		"beyond a buffer":  {[]int{40000, 40000}, "[40000/0 40000/0]"},
		"empty at the end": {[]int{100, 0, 100}, "[100/0 0/0 100/0]"},
	} {
		var bufs [][]byte
		for i, n := range c.sizes {
			bufs = append(bufs, room(n, byte(i)))
		}
		var got []string
		for _, m := range NewBatch().trains(bufs, nil) {
			size := 0
			if m.OOB != nil {
				hdr, data, _, err := unix.ParseOneSocketControlMessage(m.OOB)
				if err != nil || hdr.Level != unix.SOL_UDP || hdr.Type != unix.UDP_SEGMENT {
					t.Fatalf("%s: note %x: %v", name, m.OOB, err)
				}
				size = int(data[0]) | int(data[1])<<8
			}
			got = append(got, fmt.Sprintf("%d/%d", length(m.Buffers), size))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, want %s", name, got, c.want)
		}
		for i, n := range c.sizes {
			if !bytes.Equal(bufs[i], bytes.Repeat([]byte{byte(i)}, n)) {
				t.Errorf("%s: datagram %d changed", name, i)
			}
		}
	}
	var many [][]byte
	for range 100 {
		many = append(many, room(10, 1))
	}
	if got := NewBatch().trains(many, nil); len(got) != 2 || length(got[0].Buffers) != 640 {
		t.Errorf("100 datagrams: %d trains, the first of %d bytes; want 640 at most", len(got), length(got[0].Buffers))
	}
}

func length(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// TestThroughKernel: what goes in as trains comes out as the datagrams, in order,
// and so it does where the device takes no trains.
func TestThroughKernel(t *testing.T) {
	open := func() (*Socket, *net.UDPAddr) {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		return New(c), c.LocalAddr().(*net.UDPAddr)
	}
	from, sender := open()
	to, addr := open()
	var bufs [][]byte
	for i := range conn.IdealBatchSize {
		bufs = append(bufs, room(200-i%3, byte(i)))
	}
	for _, trains := range []bool{true, false} {
		from.trains.Store(trains)
		if err := from.Send(NewBatch(), bufs, addr); err != nil {
			t.Fatal(err)
		}
		in, got, sizes := NewBatch(), make([][]byte, conn.IdealBatchSize), make([]int, conn.IdealBatchSize)
		for i := range got {
			got[i] = make([]byte, 1<<16-1)
		}
		for next := 0; next < len(bufs); {
			n, err := to.Receive(in, got, sizes)
			if err != nil {
				t.Fatalf("trains %v: after %d: %v", trains, next, err)
			}
			for i := range n {
				if !bytes.Equal(got[i][:sizes[i]], bufs[next]) {
					t.Fatalf("trains %v: datagram %d: %d bytes of %x", trains, next, sizes[i], got[i][0])
				}
				if in.msgs[i].Addr.(*net.UDPAddr).Port != sender.Port {
					t.Fatalf("datagram %d from %v, want %v", next, in.msgs[i].Addr, sender)
				}
				next++
			}
		}
	}
}

// FuzzSplit: whatever the kernel says, no datagram leaves its buffer.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("abcdefghij"), uint16(3), uint8(126))
	f.Add([]byte("a"), uint16(0), uint8(127))
	f.Fuzz(func(t *testing.T, data []byte, size uint16, first uint8) {
		b, bufs, sizes := NewBatch(), make([][]byte, conn.IdealBatchSize), make([]int, conn.IdealBatchSize)
		for i := range bufs {
			bufs[i] = make([]byte, 1<<16-1)
		}
		i := int(first) % len(bufs)
		m := &b.msgs[i]
		m.N, m.OOB = copy(bufs[i], data), b.note(i, int(size))
		m.OOB[0], m.OOB[unix.SizeofPtr+4] = byte(unix.CmsgLen(4)), unix.UDP_GRO // as the kernel writes it
		m.NN = len(m.OOB)
		total := 0
		for j := range b.split(bufs, sizes, i, i+1) {
			total += sizes[j]
		}
		if total > m.N {
			t.Fatalf("%d bytes out of %d", total, m.N)
		}
	})
}
