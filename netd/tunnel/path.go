package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"clinicgate/netd/train"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// A path is one uplink's socket, which comes and goes with its device.
type path struct {
	Path
	mu      sync.Mutex
	changed sync.Cond
	open    bool
	want    int // interface index of the device now; 0: there is none
	index   int // of the device the socket is bound to
	sock    *train.Socket

	heard atomic.Int64  // when the hub was last, in Unix nanoseconds
	count atomic.Uint64 // of datagrams received
	got   atomic.Uint64 // bytes received
	sent  atomic.Uint64 // bytes
	many  atomic.Uint64 // datagrams sent
	calls *calls
	jar   jar
	lane  lane
	from  *endpoint    // the last sender; the receiver's own
	in    *train.Batch // the receiver's own
}

func (p *path) start() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		return false
	}
	p.open = true
	_ = p.follow() // the next refresh tells
	return true
}

func (p *path) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = false
	p.drop()
	p.changed.Broadcast()
}

// drop closes the socket; the caller holds mu.
func (p *path) drop() {
	if p.sock != nil {
		p.sock.Close()
		p.sock, p.index = nil, 0
	}
}

// refresh makes the socket follow the device.
func (p *path) refresh(index int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = index
	return p.follow()
}

// follow opens and closes the socket as the device comes and goes. A socket stays
// bound to the index it was made for, so a port that came back needs a new one.
// The caller holds mu.
func (p *path) follow() error {
	if !p.open || p.want == p.index {
		return nil
	}
	p.drop()
	if p.want == 0 {
		return nil
	}
	sock, err := listen(p.Path)
	if err != nil {
		return err
	}
	p.sock, p.index = sock, p.want
	p.changed.Broadcast()
	return nil
}

func (p *path) current() *train.Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sock
}

func (p *path) send(m *train.Batch, bufs [][]byte, to *net.UDPAddr) error {
	sock := p.current()
	if sock == nil {
		return errNoPath
	}
	err := sock.Send(m, bufs, to)
	if err == nil {
		n := 0
		for _, buf := range bufs {
			n += len(buf)
		}
		p.sent.Add(uint64(n))
		p.many.Add(uint64(len(bufs)))
	}
	return err
}

// await returns the socket once there is one, nil when the bind was closed.
func (p *path) await() *train.Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.open && p.sock == nil {
		p.changed.Wait()
	}
	if !p.open {
		return nil
	}
	return p.sock
}

// errorPause keeps a socket in trouble from taking a core.
const errorPause = 20 * time.Millisecond

// receive is a conn.ReceiveFunc. It is called from one goroutine.
func (p *path) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	for {
		sock := p.await()
		if sock == nil {
			return 0, net.ErrClosed
		}
		n, err := sock.Receive(p.in, bufs, sizes)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(errorPause)
			}
			continue
		}
		real, bytes := n, 0
		for i := range n {
			from := p.sender(p.in.From(i))
			eps[i] = from
			bytes += sizes[i]
			if isAnswer(bufs[i][:sizes[i]]) {
				p.lane.answer(from.AddrPort, bufs[i][:sizes[i]], time.Now())
				real, bytes = real-1, bytes-sizes[i]
				sizes[i] = 0 // not for WireGuard
				continue
			}
			if p.calls.once.again(bufs[i][:sizes[i]]) {
				sizes[i] = 0 // a copy, by another path
				continue
			}
			if sizes[i] == cookieSize && bufs[i][0] == typeCookie {
				if value, ok := p.calls.open(from.AddrPort, bufs[i][:cookieSize]); ok {
					p.jar.put(from.AddrPort, value, time.Now())
				}
			}
		}
		if real > 0 {
			p.heard.Store(time.Now().UnixNano())
			p.count.Add(uint64(real))
			p.got.Add(uint64(bytes))
		}
		return n, nil
	}
}

// sender returns the endpoint of an address: mostly the one of the datagram before.
func (p *path) sender(a *net.UDPAddr) *endpoint {
	if ap := unmapped(a.AddrPort()); p.from == nil || p.from.AddrPort != ap {
		p.from = &endpoint{ap}
	}
	return p.from
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// bufferSize lets a burst at full rate wait for a busy processor.
const bufferSize = 4 << 20

func listen(p Path) (*train.Socket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) { err = setOptions(int(fd), p) })
		return errors.Join(ctl, err)
	}}
	c, err := lc.ListenPacket(context.Background(), "udp4", ":0")
	if err != nil {
		return nil, fmt.Errorf("open tunnel socket on %s: %w", p.Dev, err)
	}
	return train.New(c.(*net.UDPConn)), nil
}

func setOptions(fd int, p Path) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, p.Dev); err != nil {
		return fmt.Errorf("bind to device: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
		return fmt.Errorf("set mark: %w", err)
	}
	// What an uplink does not carry in one piece is cut into fragments: there is
	// nobody to resend it smaller. netd sees to it that there is none, and believes
	// no ICMP message about it.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT); err != nil {
		return fmt.Errorf("let datagrams be cut: %w", err)
	}
	// Larger than the system's limit needs CAP_NET_ADMIN; less is slower, not wrong.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize)
	return nil
}
