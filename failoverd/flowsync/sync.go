// Package flowsync keeps a copy of the master's connections in the other box's
// kernel. It guarantees that when Prepare returns nil, everything the other box
// managed to send is in this one's kernel, with its NAT: the addresses can be
// claimed and no packet meets a box that doesn't know its connection.
//
// The box that owns the connections tells, the other one puts in place at once. A
// claim makes the owner; a box that gave the addresses away stays owner until the
// new master tells it, or one that takes over before it was told anything would
// take over nothing. Each box dials the other to tell and listens to be told.
package flowsync

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"clinicgate/failoverd/flowsync/ctnl"
	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/failoverd/flowsync/ledger"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/twin"
)

// Config says where the other box is.
type Config struct {
	Port   string         // netdev of the cable between the boxes; empty: any
	Listen netip.AddrPort // ours on it
	Peer   netip.AddrPort // the other box's
	Key    [32]byte
	Max    int          // flows, each way
	Own    []netip.Addr // addresses of this box besides those on its ports: the pair's
}

// A Kernel is a table of connections.
type Kernel interface {
	Create(flow.Flow) error
	CreateAll([]flow.Flow) []error // what became of each, in its place
	Update(flow.Flow) error
	Delete(flow.Key) error
}

// A Reader tells what is in the kernel's table.
type Reader interface {
	Listen() (Events, error)
	List(take func(ctnl.Event)) error
}

// Events is a stream of changes; ctnl.ErrOverrun ends it.
type Events interface {
	Next(take func(ctnl.Event)) error
	Close() error
}

// Sync is one box's part.
type Sync struct {
	cfg    Config
	log    *slog.Logger
	kernel Kernel
	reader Reader
	terms  *tls.Config
	box    [16]byte
	began  time.Time
	turned chan struct{} // the role changed: the telling side looks again
	bell   chan struct{} // something worth showing changed
	say    chan string   // notes to the other box
	noted  chan string   // notes of the other box

	mu     sync.Mutex
	master map[string]bool // groups whose addresses are here
	owner  bool            // this box's table is the one to copy
	local  map[netip.Addr]bool
	got    ledger.Rounds // what the other box told us and is in the kernel for it
	in     *incoming     // nil: the other box doesn't tell
	fresh  []flow.Flow   // told, and not yet in the kernel
	out    outgoing
	counts Counts
}

// Counts are since the start.
type Counts struct {
	Put, Deleted uint64 // entries put in place and taken away for the other box
	Refused      uint64 // entries the kernel or this box didn't want
	Dropped      uint64 // entries left out for want of room
	Overruns     uint64 // times the kernel had more events than we could read
}

// Status is what people are shown.
type Status struct {
	Telling, Told bool          // the two directions stand
	Sent, Held    int           // flows the other box knows of, flows held for it
	Lag           time.Duration // until the other box had everything, lately
	Err           error         // why a direction doesn't stand
	Counts
}

// New returns a Sync that has done nothing yet.
func New(cfg Config, log *slog.Logger, k Kernel, r Reader) (*Sync, error) {
	terms, err := twin.Terms(cfg.Key, purpose)
	if err != nil {
		return nil, err
	}
	s := &Sync{
		cfg: cfg, log: log, kernel: k, reader: r, terms: terms, began: time.Now(),
		turned: make(chan struct{}, 1), bell: make(chan struct{}, 1),
		say: make(chan string, notes), noted: make(chan string, notes),
		master: map[string]bool{}, got: ledger.Rounds{Ledger: ledger.New(cfg.Max)},
	}
	rand.Read(s.box[:])
	return s, nil
}

// Tasks are the work; all of it ends with its context.
func (s *Sync) Tasks() []daemon.Task {
	return []daemon.Task{
		{Name: "tell flows", Run: s.tell},
		{Name: "take flows", Run: s.take},
		{Name: "own addresses", Run: daemon.Every(2*time.Second, func(time.Time) { s.lookLocal() })},
	}
}

// Bell rings when a session begins or ends.
func (s *Sync) Bell() <-chan struct{} { return s.bell }

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lookLocal learns this box's own addresses: its own traffic ends in programs that
// the other box doesn't have.
func (s *Sync) lookLocal() {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		s.log.Warn("list own addresses", "err", err)
		return
	}
	local := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap()] = true
		}
	}
	for _, a := range s.cfg.Own {
		local[a] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local = local
}

// passing reports whether a flow goes through the box, and neither from nor to it.
// The caller holds mu.
func (s *Sync) passing(f flow.Flow) bool {
	for _, e := range []flow.End{f.Src, f.Reply.Src} {
		a := e.AddrPort().Addr()
		if s.local[a] || a.IsLoopback() || a.IsMulticast() {
			return false
		}
	}
	return true
}

// joinGrace is how long after its start a box waits for the other one's flows: one
// that comes back knows nothing, and would take over with nothing.
const joinGrace = 2 * time.Second

// Prepare returns when everything the other box sent is in the kernel; from then
// on this box's entries are its own and it is the one that tells. Cancelled means
// called back: nothing changes. When time runs out it is master all the same.
func (s *Sync) Prepare(ctx context.Context, group string) error {
	err := s.settle(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owner {
		s.log.Info("taking over connections", "held", s.got.Len())
		s.got = ledger.Rounds{Ledger: ledger.New(s.cfg.Max)}
		s.owner = true
	}
	s.master[group] = true
	ring(s.turned)
	return err
}

// settle waits until nothing is on its way. What lies in the socket of a dead box
// is a moment's work.
func (s *Sync) settle(ctx context.Context) error {
	tick := time.NewTicker(300 * time.Microsecond)
	defer tick.Stop()
	var last uint64
	for {
		s.mu.Lock()
		in := s.in
		s.mu.Unlock()
		switch {
		case in == nil && time.Since(s.began) > joinGrace:
			return nil
		case in != nil && in.joined.Load() && in.idle():
			// Twice, with no read between: what was read before was put in place.
			n := in.wire.reads.Load() + 1
			if n == last {
				return nil
			}
			last = n
		default:
			last = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the other box's connections: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Yield says that a group's addresses are the other box's now. If that one told of
// its connections while this box held to its own, it is to tell them again.
func (s *Sync) Yield(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.master[group] {
		return
	}
	delete(s.master, group)
	if len(s.master) == 0 && s.in != nil && s.in.told {
		s.in.conn.NetConn().Close()
	}
}

func (s *Sync) owns() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// Status returns what to show.
func (s *Sync) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Telling: s.out.up, Told: s.in != nil, Sent: s.out.sent, Held: s.got.Len(), Err: s.out.err, Counts: s.counts}
	if s.out.up {
		st.Lag = s.out.lag(time.Now())
	}
	return st
}
