package flowsync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"clinicgate/failoverd/flowsync/ctnl"
	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/daemon"
)

// A table is a kernel's table of connections in memory, with its rules: nothing is
// created twice, nothing updated that isn't there, and whoever listens hears it.
type table struct {
	mu      sync.Mutex
	entries map[flow.Key]flow.Flow
	ears    []*ear
}

func newTable() *table { return &table{entries: map[flow.Key]flow.Flow{}} }

func (k *table) change(f flow.Flow, want bool, gone bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, is := k.entries[f.Key]; is != want {
		if is {
			return ctnl.ErrExists
		}
		return errors.New("no such entry")
	}
	k.entries[f.Key] = f
	if gone {
		delete(k.entries, f.Key)
	}
	for _, e := range k.ears {
		select {
		case e.events <- ctnl.Event{Flow: f, Gone: gone}:
		default:
			e.deaf = true
		}
	}
	return nil
}

func (k *table) Create(f flow.Flow) error { return k.change(f, false, false) }
func (k *table) CreateAll(fs []flow.Flow) (all []error) {
	for _, f := range fs {
		all = append(all, k.Create(f))
	}
	return all
}
func (k *table) Update(f flow.Flow) error { return k.change(f, true, false) }
func (k *table) Delete(key flow.Key) error {
	k.change(flow.Flow{Key: key}, true, true)
	return nil
}

func (k *table) List(take func(ctnl.Event)) error {
	for _, f := range k.all() {
		take(ctnl.Event{Flow: f})
	}
	return nil
}

func (k *table) all() []flow.Flow {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []flow.Flow
	for _, f := range k.entries {
		all = append(all, f)
	}
	return all
}

func (k *table) len() int { return len(k.all()) }

// deafen makes who listens now have missed something, and says how many do.
func (k *table) deafen() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.ears {
		e.deaf = true
	}
	return len(k.ears)
}

func (k *table) Listen() (Events, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := &ear{of: k, events: make(chan ctnl.Event, 64), closed: make(chan struct{})}
	k.ears = append(k.ears, e)
	return e, nil
}

// An ear hears a table's changes; deaf once it was too slow.
type ear struct {
	of     *table
	events chan ctnl.Event
	closed chan struct{}
	once   sync.Once
	deaf   bool // mu of the table guards it
}

func (e *ear) Next(take func(ctnl.Event)) error {
	e.of.mu.Lock()
	deaf := e.deaf
	e.of.mu.Unlock()
	if deaf {
		return ctnl.ErrOverrun
	}
	select {
	case ev := <-e.events:
		take(ev)
		return nil
	case <-e.closed:
		return net.ErrClosed
	}
}

func (e *ear) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// open is connection number n of the clinic, hidden behind the pair's address.
func open(n int) flow.Flow {
	end := func(a, b byte, port int) flow.End {
		return flow.EndOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, a, b}), uint16(port)))
	}
	server := flow.EndOf(netip.MustParseAddrPort("192.0.2.10:443"))
	t := flow.Tuple{Src: end(byte(n>>14), 50, 20000+n&0x3fff), Dst: server}
	return flow.Flow{
		Key:    flow.Key{Proto: flow.TCP, Tuple: t},
		Reply:  flow.Tuple{Src: server, Dst: flow.EndOf(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), uint16(20000+n&0x3fff)))},
		Status: flow.StatusMask, Timeout: 432000, State: flow.Established,
	}
}

// A side is one box: a Sync over a table in memory, on a loopback address.
type side struct {
	*Sync
	table *table
	stop  func()
}

var key = [32]byte{1, 2, 3}

// A pair is two loopback addresses with ports that no other test uses.
type pair struct {
	t          *testing.T
	a, b       netip.AddrPort
	max        int
	keyA, keyB [32]byte
}

func newPair(t *testing.T) *pair {
	free := func(host string) netip.AddrPort {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return netip.MustParseAddrPort(l.Addr().String())
	}
	return &pair{t: t, a: free("127.0.0.2"), b: free("127.0.0.3"), max: 1000, keyA: key, keyB: key}
}

func (p *pair) startA() *side { return p.start(p.a, p.b, p.keyA) }
func (p *pair) startB() *side { return p.start(p.b, p.a, p.keyB) }

// start runs a box. It dials from its own address, as on a cable of two.
func (p *pair) start(own, peer netip.AddrPort, key [32]byte) *side {
	p.t.Helper()
	k := newTable()
	s, err := New(Config{Listen: own, Peer: peer, Key: key, Max: p.max}, slog.New(slog.DiscardHandler), k, k)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, task := range s.Tasks() {
		all.Go(func() { daemon.Run(ctx, task) })
	}
	stop := sync.OnceFunc(func() { cancel(); all.Wait() })
	p.t.Cleanup(stop)
	return &side{Sync: s, table: k, stop: stop}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("never happened: " + what)
}

func (s *side) prepare(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Prepare(ctx, "lan"); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, k *table, first, last int) {
	t.Helper()
	for n := first; n < last; n++ {
		if err := k.Create(open(n)); err != nil {
			t.Fatal(fmt.Errorf("%v: %w", open(n).Key, err))
		}
	}
}
