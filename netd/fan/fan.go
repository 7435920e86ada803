package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"clinicgate/netd/crowd"
	"clinicgate/netd/notice"
	"clinicgate/netd/train"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/sys/unix"
)

const (
	// smallSize is up to where a datagram is small, as in netd/steer.
	smallSize = 512
	// maxStrangers is how many clients without notices there may be; the one that is
	// silent for longest goes, when it is silent for strangerLife.
	maxStrangers = 1024
	strangerLife = 30 * time.Second
	outerBuffers = 128
	innerBuffers = 66 // a train of 64, taken apart in front of itself
	bufferSize   = 1<<16 - 1
	socketBuffer = 4 << 20
)

// A fan passes datagrams between boxes and the WireGuard behind it. mu guards what
// is below it.
type fan struct {
	log    *slog.Logger
	outer  *train.Socket
	hub    netip.AddrPort
	secret [32]byte // that nonces are made of; a restart asks for new ones

	mu        sync.Mutex
	table     *crowd.Table
	boxes     map[*crowd.Box]*client
	strangers map[netip.AddrPort]*client
	count     int // of clients so far: makes their addresses
}

// A client is one box or stranger as the WireGuard behind sees it: a socket.
type client struct {
	sock *train.Socket
	box  *crowd.Box     // nil: a stranger
	last netip.AddrPort // where it was heard from last
	at   time.Time      // when
}

func newFan(c *net.UDPConn, hub netip.AddrPort, keys []notice.Key, log *slog.Logger) *fan {
	widen(c)
	f := &fan{log: log, outer: train.New(c), hub: hub, table: crowd.New(keys),
		boxes: map[*crowd.Box]*client{}, strangers: map[netip.AddrPort]*client{}}
	rand.Read(f.secret[:]) // never fails
	return f
}

// widen lets bursts wait for a busy processor, as far as we may.
func widen(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // smaller is slower, not wrong
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	})
}

func buffers(n int) ([][]byte, []int) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, bufferSize)
	}
	return bufs, make([]int, n)
}

// serve passes datagrams on until ctx ends.
func (f *fan) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { f.outer.Close() })()
	in, out := train.NewBatch(), train.NewBatch()
	bufs, sizes := buffers(outerBuffers)
	var run [][]byte // datagrams in a row from one address
	for {
		n, err := f.outer.Receive(in, bufs, sizes)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			f.log.Warn("receive", "err", err)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		now := time.Now()
		for i := 0; i < n; {
			from := address(in.From(i))
			run = run[:0]
			for ; i < n && address(in.From(i)) == from; i++ {
				b := bufs[i][:sizes[i]]
				if id, ok := notice.Of(b); ok {
					f.notice(out, id, b, from, now)
					continue
				}
				if wireguard(b) {
					run = append(run, b)
				}
			}
			f.forward(out, run, from, now)
		}
	}
}

func address(a *net.UDPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// nonce is what a notice from an address must carry. It needs no memory.
func (f *fan) nonce(at netip.AddrPort) (n [8]byte) {
	text, _ := at.MarshalBinary() // never fails
	sum := blake2s.Sum256(append(append([]byte(nil), f.secret[:]...), text...))
	return [8]byte(sum[:8])
}

// notice takes in a notice and answers it: an authentic one only, by a datagram not
// larger than a full one, so nobody is flooded by way of us.
func (f *fan) notice(out *train.Batch, id [8]byte, b []byte, from netip.AddrPort, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	box := f.table.Claimed(id)
	if box == nil {
		return
	}
	n, err := notice.Parse(b, box.Key)
	if err != nil {
		return
	}
	nonce := f.nonce(from)
	if n.Nonce == nonce {
		if f.table.At(from) != box {
			f.log.Info("path", "box", id, "at", from)
		}
		f.table.Noticed(box, from, n, now)
	}
	a := notice.Answer{Nonce: nonce, Seq: n.Seq}
	a.Datagrams, a.Bytes = box.Received(from)
	_ = f.outer.Send(out, [][]byte{a.Marshal(box.Key)}, net.UDPAddrFromAddrPort(from)) // as if lost
}

// forward passes datagrams from one address to the WireGuard behind.
func (f *fan) forward(out *train.Batch, run [][]byte, from netip.AddrPort, now time.Time) {
	if len(run) == 0 {
		return
	}
	f.mu.Lock()
	c := f.client(from, now)
	if c != nil && c.box != nil {
		bytes := 0
		for _, b := range run {
			bytes += len(b)
		}
		c.box.Count(from, len(run), bytes)
	}
	f.mu.Unlock()
	if c != nil {
		_ = c.sock.Send(out, run, net.UDPAddrFromAddrPort(f.hub)) // as if lost
	}
}

// client returns who speaks from an address, nil: nobody that we have room for. The
// caller holds mu.
func (f *fan) client(from netip.AddrPort, now time.Time) *client {
	if box := f.table.At(from); box != nil {
		c := f.boxes[box]
		if c == nil {
			if c = f.open(box, from); c == nil {
				return nil
			}
			f.boxes[box] = c
		}
		c.last, c.at = from, now
		return c
	}
	c := f.strangers[from]
	if c == nil {
		if !f.room(now) {
			return nil
		}
		if c = f.open(nil, from); c == nil {
			return nil
		}
		f.strangers[from] = c
	}
	c.last, c.at = from, now
	return c
}

// wireguard reports whether a datagram may be one of WireGuard's messages.
func wireguard(b []byte) bool {
	return len(b) >= 32 && b[0] >= 1 && b[0] <= 4 && b[1]|b[2]|b[3] == 0
}

// room makes room for one more stranger.
func (f *fan) room(now time.Time) bool {
	if len(f.strangers) < maxStrangers {
		return true
	}
	var oldest *client
	for _, c := range f.strangers {
		if oldest == nil || c.at.Before(oldest.at) {
			oldest = c
		}
	}
	if now.Sub(oldest.at) < strangerLife {
		return false
	}
	delete(f.strangers, oldest.last)
	oldest.sock.Close()
	return true
}

// open makes a client's socket. Each has a loopback address of its own, as a loaded
// WireGuard counts calls by address.
func (f *fan) open(box *crowd.Box, from netip.AddrPort) *client {
	n := f.count % (1 << 16)
	f.count++
	own := netip.AddrFrom4([4]byte{127, 64, byte(n >> 8), byte(n)})
	if !f.hub.Addr().IsLoopback() {
		own = netip.IPv4Unspecified()
	}
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
	if err != nil {
		f.log.Error("open", "err", err)
		return nil
	}
	widen(u)
	c := &client{sock: train.New(u), box: box, last: from}
	go f.back(c)
	return c
}

// back passes what WireGuard sends to a client on, until its socket is closed.
func (f *fan) back(c *client) {
	in, out := train.NewBatch(), train.NewBatch()
	bufs, sizes := buffers(innerBuffers)
	var got, small [][]byte
	for {
		n, err := c.sock.Receive(in, bufs, sizes)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		got, small = got[:0], small[:0]
		call := false
		for i := range n {
			if address(in.From(i)) != f.hub {
				continue
			}
			b := bufs[i][:sizes[i]]
			got = append(got, b)
			if len(b) <= smallSize {
				small = append(small, b)
			}
			call = call || len(b) > 0 && b[0] < 4
		}
		if len(got) > 0 {
			f.spread(c, out, got, small, call)
		}
	}
}

// spread sends datagrams by every path that wants them, and by the one that the box
// was heard from last when none wants all.
func (f *fan) spread(c *client, out *train.Batch, all, small [][]byte, call bool) {
	f.mu.Lock()
	last := c.last
	var paths []crowd.Path
	if c.box != nil {
		paths = append(paths, f.table.Paths(c.box, time.Now())...)
	}
	f.mu.Unlock()
	sent := false
	for _, p := range paths {
		if p.All || call {
			_ = f.outer.Send(out, all, net.UDPAddrFromAddrPort(p.At)) // as if lost
			sent = true
		}
	}
	if !sent {
		_ = f.outer.Send(out, all, net.UDPAddrFromAddrPort(last))
	}
	if len(small) == 0 {
		return
	}
	for _, p := range paths {
		times := p.Small
		if p.All || p.At == last && !sent {
			times-- // it had one
		}
		for range times {
			_ = f.outer.Send(out, small, net.UDPAddrFromAddrPort(p.At))
		}
	}
}
