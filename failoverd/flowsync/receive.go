package flowsync

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/flowsync/ctnl"
	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/twin"
)

// incoming is the session in which the other box tells.
type incoming struct {
	conn   *tls.Conn
	wire   *watched
	joined atomic.Bool   // it has told all it had when the session began
	bulk   bool          // between BulkStart and BulkEnd
	told   bool          // the other box is the owner, it says; mu of Sync guards it
	done   chan struct{} // closed when nothing more will be put in place
}

// A watched connection lets others see whether its reader waits for more, and ends
// when nothing comes.
type watched struct {
	*net.TCPConn
	reads   atomic.Uint64
	waiting atomic.Bool
}

func (w *watched) Read(b []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(silent)); err != nil {
		return 0, err
	}
	w.waiting.Store(true)
	n, err := w.TCPConn.Read(b)
	w.waiting.Store(false)
	w.reads.Add(1)
	return n, err
}

// idle reports whether the reader waits and nothing waits for it.
func (in *incoming) idle() bool {
	select {
	case <-in.done:
		return true
	default:
	}
	raw, err := in.wire.SyscallConn()
	if err != nil {
		return true // closed
	}
	queued := 0
	if err := raw.Control(func(fd uintptr) { queued, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil {
		return true
	}
	return queued == 0 && in.wire.waiting.Load()
}

// waiting is how many bytes may wait in the socket: what a dead box sent last must
// be in place within the time that a claim waits.
const waiting = 128 << 10

// strangers is how many sessions may be at their handshake at once.
const strangers = 4

// take listens for the other box.
func (s *Sync) take(ctx context.Context) error {
	for ctx.Err() == nil {
		lc := net.ListenConfig{Control: twin.OnPort(s.cfg.Port)}
		l, err := lc.Listen(ctx, "tcp", s.cfg.Listen.String())
		if err == nil {
			err = s.accept(ctx, l)
		}
		if ctx.Err() != nil {
			break
		}
		s.log.Debug("not listening to the other box", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(again): // the port or its address may come yet
		}
	}
	return nil
}

func (s *Sync) accept(ctx context.Context, l net.Listener) error {
	defer l.Close()
	context.AfterFunc(ctx, func() { l.Close() })
	seats := make(chan struct{}, strangers)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		from, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || from.Addr().Unmap() != s.cfg.Peer.Addr() {
			s.log.Debug("refused a stranger", "from", c.RemoteAddr())
			c.Close()
			continue
		}
		select {
		case seats <- struct{}{}:
			go func() {
				defer func() { <-seats }()
				s.welcome(ctx, c.(*net.TCPConn))
			}()
		default:
			c.Close()
		}
	}
}

// welcome is one session from its first byte to its last. The seat is given back
// when it ends; the session before it ends first.
func (s *Sync) welcome(ctx context.Context, c *net.TCPConn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.SetReadBuffer(waiting); err != nil {
		s.log.Warn("bound what waits", "err", err)
	}
	w := &watched{TCPConn: c}
	in := &incoming{conn: tls.Server(w, s.terms), wire: w, done: make(chan struct{})}
	short, cancel := context.WithTimeout(ctx, handshake)
	err := s.greet(short, in.conn)
	cancel()
	if err != nil {
		s.log.Debug("refused a session", "err", err)
		s.count(func(c *Counts) { c.Refused++ })
		return
	}
	if s.replace(in) {
		s.log.Info("the other box tells", "peer", s.cfg.Peer)
		ring(s.bell)
		err = s.hear(in)
		s.mu.Lock()
		if s.in == in {
			s.in = nil
		}
		s.mu.Unlock()
		s.log.Info("the other box tells no more", "err", err)
		ring(s.bell)
	}
	close(in.done)
}

// replace makes in the one session. Its predecessor has put in place all it will.
func (s *Sync) replace(in *incoming) bool {
	s.mu.Lock()
	old := s.in
	s.in = in
	s.mu.Unlock()
	if old == nil {
		return true
	}
	old.conn.NetConn().Close()
	<-old.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in == in // else: replaced in turn
}

func (s *Sync) hear(in *incoming) error {
	r := bufio.NewReaderSize(in.conn, 16<<10)
	var pong []byte
	defer s.settleFresh()
	for {
		if !flow.Whole(r) { // waiting for more, nothing is kept back
			s.settleFresh()
		}
		m, err := flow.Read(r)
		if err != nil {
			return err
		}
		if m.Kind == flow.Note {
			s.settleFresh()
			select {
			case s.noted <- m.Text:
			default:
			}
			continue
		}
		if m.Kind != flow.Ping {
			if err := s.apply(in, m); err != nil {
				return err
			}
			continue
		}
		s.settleFresh()
		if !in.bulk {
			in.joined.Store(true)
		}
		m.Kind = flow.Pong
		pong = m.Append(pong[:0])
		if _, err := (patient{in.conn}).Write(pong); err != nil {
			return err
		}
	}
}

// apply puts one message in place. Its errors end the session; what the kernel
// doesn't want is counted.
func (s *Sync) apply(in *incoming, m flow.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Kind == flow.Put && s.keep(m.Flow) {
		return nil
	}
	s.putFresh() // in the order of what was told
	switch m.Kind {
	case flow.BulkStart:
		in.bulk, in.told = true, true
		in.joined.Store(false)
		s.got.Begin()
		if len(s.master) == 0 && s.owner {
			s.owner = false
			ring(s.turned)
		}
	case flow.BulkEnd:
		if !in.bulk {
			return errors.New("got the end of a listing without its start")
		}
		in.bulk = false
		for _, k := range s.got.End() {
			s.delete(k)
		}
	case flow.Put:
		s.put(m.Flow)
	case flow.Del:
		if s.got.Del(m.Flow.Key) {
			s.delete(m.Flow.Key)
		}
	default:
		return fmt.Errorf("got message %d, want flows", m.Kind)
	}
	return nil
}

// put puts a flow in place and remembers that it is the other box's. One that this
// box carries itself is left alone. Stop here: the entry stays in the kernel until
// it lapses, and the next session's listing overwrites it.
func (s *Sync) put(f flow.Flow) {
	if !s.passing(f) {
		s.counts.Refused++
		return
	}
	old, known := s.got.Get(f.Key)
	if !known || old.Reply != f.Reply || s.kernel.Update(f) != nil {
		err := s.kernel.Create(f)
		if errors.Is(err, ctnl.ErrExists) && !known && len(s.master) > 0 {
			return
		}
		if errors.Is(err, ctnl.ErrExists) { // with other addresses, or another life's
			s.delete(f.Key)
			err = s.kernel.Create(f)
		}
		if err != nil {
			s.log.Debug("put a connection in place", "err", err)
			s.counts.Refused++
			s.got.Del(f.Key)
			return
		}
		s.counts.Put++
	}
	s.remember(f)
}

// remember notes a flow as the other box's, in the kernel.
func (s *Sync) remember(f flow.Flow) {
	out, full, ok := s.got.Put(f)
	if full {
		s.counts.Dropped++
		s.delete(out)
	}
	if !ok {
		s.counts.Dropped++
		s.delete(f.Key)
		return
	}
	s.got.See(f.Key)
}

func (s *Sync) delete(k flow.Key) {
	if err := s.kernel.Delete(k); err != nil {
		s.log.Debug("take a connection away", "err", err)
		return
	}
	s.counts.Deleted++
}

func (s *Sync) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}
