package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/netd/steer"
	"clinicgate/netd/train"

	"golang.zx2c4.com/wireguard/conn"
)

// Path is one uplink as the tunnel sees it.
type Path struct {
	Dev  string
	Mark uint32 // chooses the uplink's routing table
}

// A bind carries WireGuard's datagrams over all uplinks: one UDP socket per
// uplink, bound to its device. It receives on all of them; by which it sends is
// the way that it was given. It implements conn.Bind.
//
// A device that vanishes takes its socket along and the receiver waits for the
// next one: WireGuard never sees an error, as it would stop receiving for good.
type bind struct {
	paths  []*path
	way    atomic.Pointer[steer.Way]
	sent   atomic.Int64 // when something last was, in Unix nanoseconds
	called atomic.Int64 // ... a call to a hub
	out    sync.Pool    // *train.Batch
	calls  *calls

	dealing sync.Mutex // held while datagrams are dealt out and sent
	dealer  steer.Dealer
	hands   [][][]byte // per path
}

var _ conn.Bind = (*bind)(nil)

func newBind(paths []Path) *bind {
	b := &bind{calls: newCalls(), hands: make([][][]byte, len(paths)), out: sync.Pool{New: func() any { return train.NewBatch() }}}
	b.way.Store(&steer.Way{})
	for _, p := range paths {
		path := &path{Path: p, in: train.NewBatch(), calls: b.calls}
		path.changed.L = &path.mu
		b.paths = append(b.paths, path)
	}
	return b
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

// Send sends datagrams to the hub by every path of the way: the hub drops the
// copies that come later, of a handshake by its time stamp and of data by its
// counter. It fails when no path took them; one that can't send now stands back
// for the others.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	to, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	way := b.way.Load()
	switch {
	case len(bufs) == 1 && len(bufs[0]) == callSize && bufs[0][0] == typeCall:
		return b.call(bufs[0], way, to.AddrPort)
	case handshake(bufs):
		return b.spread(union(way.All, way.Small), to.AddrPort, func(int) []byte { return bufs[0] })
	}
	addr := net.UDPAddrFromAddrPort(to.AddrPort)
	m := b.out.Get().(*train.Batch)
	defer b.out.Put(m)
	if len(way.Shares) > 0 {
		return b.deal(m, bufs, way, addr)
	}
	err := errNoPath
	for _, i := range way.All {
		err = better(err, b.paths[i].send(m, bufs, addr))
	}
	if few := small(bufs, way); len(few) > 0 {
		for _, i := range way.Small {
			err = better(err, b.paths[i].send(m, few, addr))
		}
	}
	if err == nil {
		b.sent.Store(time.Now().UnixNano())
	}
	return err
}

// apart is the time between copies of a handshake message. A hub that is handed two
// at the same time takes both, on two processors: it answers twice, forgets what it
// said first, and nothing is understood until the next handshake, 15 s later. One
// that comes this much later finds the first done and is dropped.
const apart = 10 * time.Millisecond

// spread sends a handshake message by the first path that takes it, and copies by the
// others a little later each. It does not wait for those: the answer to the first may be
// here before them, and WireGuard, which begins to wait for it when Send returns, would
// have missed it and call again five seconds later, and then for ever.
func (b *bind) spread(paths []int, to netip.AddrPort, msg func(path int) []byte) error {
	err, wait := errNoPath, time.Duration(0)
	for _, i := range paths {
		if own := slices.Clone(msg(i)); err == nil {
			wait += apart
			time.AfterFunc(wait, func() { _ = b.one(i, own, to) }) // as if lost
		} else {
			err = b.one(i, own, to)
		}
	}
	if err == nil {
		b.sent.Store(time.Now().UnixNano())
	}
	return err
}

// one sends a datagram by a path.
func (b *bind) one(i int, msg []byte, to netip.AddrPort) error {
	m := b.out.Get().(*train.Batch)
	defer b.out.Put(m)
	return b.paths[i].send(m, [][]byte{msg}, net.UDPAddrFromAddrPort(to))
}

// call sends a handshake initiation by every path, each with its own cookie.
func (b *bind) call(msg []byte, way *steer.Way, to netip.AddrPort) error {
	b.calls.note(to, msg)
	now := time.Now()
	b.called.Store(now.UnixNano())
	return b.spread(union(way.All, way.Small), to, func(i int) []byte { return b.paths[i].jar.stamp(to, msg, now) })
}

// union is what is in either list, once.
func union(a, b []int) []int {
	all := slices.Clone(a)
	for _, i := range b {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}

// handshake reports whether this is one of WireGuard's messages that are not data
// (types 1 to 3). They get copies under every policy: a lost one costs five seconds.
func handshake(bufs [][]byte) bool { return len(bufs) == 1 && bufs[0][0] < 4 }

// deal sends each datagram by one path. What a path does not take goes by the
// others, as one that just broke is no reason to lose a handful.
func (b *bind) deal(m *train.Batch, bufs [][]byte, way *steer.Way, addr *net.UDPAddr) error {
	b.dealing.Lock()
	defer b.dealing.Unlock()
	now := time.Now()
	for hand := range slices.Chunk(bufs, steer.Hand(way.Shares)) {
		size := 0
		for _, buf := range hand {
			size += len(buf)
		}
		i := b.dealer.Deal(size, way.Shares, now)
		b.hands[i] = append(b.hands[i], hand...)
	}
	var err error
	for i, hand := range b.hands {
		if len(hand) == 0 {
			continue
		}
		if b.paths[i].send(m, hand, addr) != nil {
			err = errNoPath
			for _, other := range way.All {
				if other != i && err != nil {
					err = b.paths[other].send(m, hand, addr)
				}
			}
		}
		clear(hand)
		b.hands[i] = hand[:0]
	}
	b.sent.Store(now.UnixNano())
	return err
}

// better is what several attempts come to: one that worked is enough.
func better(before, now error) error {
	if before == nil || now == nil {
		return nil
	}
	return now
}

// small returns the datagrams that may also go by metered uplinks.
func small(bufs [][]byte, way *steer.Way) [][]byte {
	if len(way.Small) == 0 {
		return nil
	}
	var few [][]byte
	for _, buf := range bufs {
		if len(buf) <= steer.SmallSize {
			few = append(few, buf)
		}
	}
	return few
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
