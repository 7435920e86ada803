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

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// Path is one uplink as the tunnel sees it.
type Path struct {
	Dev  string
	Mark uint32 // chooses the uplink's routing table
}

// A bind carries WireGuard's datagrams over all uplinks: one UDP socket per
// uplink, bound to its device. It receives on all of them; by which it sends is
// the policy. It implements conn.Bind.
//
// A device that vanishes takes its socket along and the receiver waits for the
// next one: WireGuard never sees an error, as it would stop receiving for good.
type bind struct {
	paths  []*path
	active atomic.Int32 // index into paths; -1: none yet
	msgs   sync.Pool    // *[]ipv4.Message for sending
}

var _ conn.Bind = (*bind)(nil)

func newBind(paths []Path) *bind {
	b := &bind{}
	b.active.Store(-1)
	for _, p := range paths {
		path := &path{Path: p}
		path.changed.L = &path.mu
		b.paths = append(b.paths, path)
	}
	b.msgs.New = func() any {
		m := make([]ipv4.Message, conn.IdealBatchSize)
		for i := range m {
			m[i].Buffers = make([][]byte, 1)
		}
		return &m
	}
	return b
}

// policy returns the path a batch of datagrams goes by: the active uplink. Here
// is where copies on several paths, or a share to each, would be decided.
func (b *bind) policy() *path {
	if i := b.active.Load(); i >= 0 {
		return b.paths[i]
	}
	return nil
}

// Open starts listening. The port is each path's own choice: we always call first.
func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	var fns []conn.ReceiveFunc
	for _, p := range b.paths {
		if !p.start() {
			return nil, 0, conn.ErrBindAlreadyOpen
		}
		fns = append(fns, p.receive)
	}
	return fns, 0, nil
}

// Close makes all receivers return net.ErrClosed.
func (b *bind) Close() error {
	for _, p := range b.paths {
		p.stop()
	}
	return nil
}

// SetMark does nothing: every path has its own mark.
func (b *bind) SetMark(uint32) error { return nil }

// BatchSize is how many datagrams are handled at once.
func (b *bind) BatchSize() int { return conn.IdealBatchSize }

var errNoPath = errors.New("no uplink to send by")

// Send sends datagrams to the hub by the policy's path.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	to, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	p := b.policy()
	if p == nil {
		return errNoPath
	}
	sock := p.current()
	if sock == nil {
		return errNoPath
	}
	msgs := b.msgs.Get().(*[]ipv4.Message)
	defer b.msgs.Put(msgs)
	addr := net.UDPAddrFromAddrPort(to.AddrPort)
	for i, buf := range bufs {
		(*msgs)[i].Buffers[0], (*msgs)[i].Addr = buf, addr
	}
	for rest := (*msgs)[:len(bufs)]; len(rest) > 0; {
		n, err := sock.pc.WriteBatch(rest, 0)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// ParseEndpoint reads "192.0.2.1:51820".
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return &endpoint{ap}, nil
}

// An endpoint is where the hub was heard from last. The source is the policy's
// business, so there is none to remember.
type endpoint struct{ netip.AddrPort }

func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstIP() netip.Addr   { return e.Addr() }
func (e *endpoint) DstToString() string { return e.AddrPort.String() }
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.MarshalBinary() // never fails
	return b
}

// A path is one uplink's socket, which comes and goes with its device.
type path struct {
	Path
	mu      sync.Mutex
	changed sync.Cond
	open    bool
	want    int // interface index of the device now; 0: there is none
	index   int // of the device the socket is bound to
	sock    *socket
}

type socket struct {
	udp *net.UDPConn
	pc  *ipv4.PacketConn
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
		p.sock.udp.Close()
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

func (p *path) current() *socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sock
}

// await returns the socket once there is one, nil when the bind was closed.
func (p *path) await() *socket {
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
	msgs := make([]ipv4.Message, len(bufs))
	for i := range bufs {
		msgs[i].Buffers = bufs[i : i+1]
	}
	for {
		sock := p.await()
		if sock == nil {
			return 0, net.ErrClosed
		}
		n, err := sock.pc.ReadBatch(msgs, 0)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(errorPause)
			}
			continue
		}
		for i := range n {
			sizes[i] = msgs[i].N
			eps[i] = &endpoint{unmapped(msgs[i].Addr.(*net.UDPAddr).AddrPort())}
		}
		return n, nil
	}
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// bufferSize lets a burst at full rate wait for a busy processor.
const bufferSize = 4 << 20

func listen(p Path) (*socket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) { err = setOptions(int(fd), p) })
		return errors.Join(ctl, err)
	}}
	c, err := lc.ListenPacket(context.Background(), "udp4", ":0")
	if err != nil {
		return nil, fmt.Errorf("open tunnel socket on %s: %w", p.Dev, err)
	}
	udp := c.(*net.UDPConn)
	return &socket{udp, ipv4.NewPacketConn(udp)}, nil
}

func setOptions(fd int, p Path) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, p.Dev); err != nil {
		return fmt.Errorf("bind to device: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
		return fmt.Errorf("set mark: %w", err)
	}
	// Larger than the system's limit needs CAP_NET_ADMIN; less is slower, not wrong.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize)
	return nil
}
