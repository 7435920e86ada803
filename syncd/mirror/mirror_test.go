package mirror

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

var key = [32]byte{1, 2, 3}

// A side is one box: its queue outlives its mirror.
type side struct {
	t      *testing.T
	queue  *queue.Queue
	cfg    Config
	m      *Mirror
	stop   func()
	clash  atomic.Int32
	flight atomic.Int32
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newQueue(t *testing.T) *queue.Queue {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.TempDir(), queue.Options{Domain: v.Domain("uploads"), Pair: queue.Secret(key), Segment: segment.Options{SegmentSize: 4 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// address is a free one on loopback; each side has an address of its own, for a box
// calls from where it listens.
func address(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// sides are two boxes, switched off.
func sides(t *testing.T) (a, b *side) {
	t.Helper()
	one, other := address(t, "127.0.0.1"), address(t, "127.0.0.2")
	box := func(listen, peer netip.AddrPort) *side {
		return &side{t: t, queue: newQueue(t), cfg: Config{Listen: listen, Peer: peer, Key: key, Wait: 20 * time.Second}}
	}
	return box(one, other), box(other, one)
}

func (s *side) on() {
	s.t.Helper()
	s.cfg.Clash = func(*queue.Conflict) { s.clash.Add(1) }
	s.cfg.Flight = func() int { return int(s.flight.Load()) }
	var err error
	if s.m, err = New(s.cfg, s.queue, quiet()); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, task := range s.m.Tasks() {
		wg.Go(func() { task.Run(ctx) })
	}
	var once sync.Once
	s.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	s.t.Cleanup(s.stop)
}

func (s *side) wait(what string, ok func(Status) bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(s.m.Status()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never %s: %+v", what, s.m.Status())
		}
	}
}

// shortly is the Wait of a box that is to be alone.
const shortly = 300 * time.Millisecond

func alive(s Status) bool   { return s.Alive }
func settled(s Status) bool { return s.Alive && s.Behind == 0 }

func content(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// accept is what a way in does; it returns the item's number once it is confirmed.
func (s *side) accept(key string, body []byte) (queue.Receipt, error) {
	s.t.Helper()
	r, err := s.queue.Accept(context.Background(), queue.Item{Key: key, Lane: lane.Routine, Kind: "dicom", Origin: "CART"}, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return r, s.m.Confirm(context.Background(), r.ID)
}

func (s *side) must(key string, body []byte) queue.Receipt {
	s.t.Helper()
	r, err := s.accept(key, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// has reads an item whole.
func (s *side) has(key string, body []byte) {
	s.t.Helper()
	b, ok := s.queue.Named(key)
	if !ok {
		s.t.Fatalf("%s is not there", key)
	}
	r, err := s.queue.Body(b.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		s.t.Fatalf("%s: %d bytes, %v", key, len(got), err)
	}
}

// What is confirmed while both are there is in both, whole, the moment it is.
func TestConfirmedIsInBoth(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	var wg sync.WaitGroup
	for i, n := range []int{1, 64 << 10, 1 << 20, 5<<20 + 3, 100, 70_000} {
		wg.Go(func() {
			name, text := fmt.Sprint("k", i), content(n, byte(i))
			a.must(name, text)
			b.has(name, text)
		})
	}
	wg.Wait()
	if st := a.m.Status(); st.Alone != 0 {
		t.Errorf("%+v", st)
	}
	a.wait("settled", settled)
	b.wait("settled", settled)
	r, err := b.queue.Verify(context.Background())
	if err != nil || len(r.Problems) > 0 || r.Items[queue.Waiting] != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What was taken alone reaches the other box at the join, with what was decided
// about it; each side tells its own, and both end with the same.
func TestJoin(t *testing.T) {
	a, b := sides(t)
	a.cfg.Wait = shortly
	a.on()
	a.wait("tried", func(s Status) bool { return s.Err != nil })
	for i := range 40 {
		r := a.must(fmt.Sprint("a", i), content(1000+i, byte(i)))
		if i%4 == 0 {
			if _, _, err := a.queue.Begin(r.ID, "hospital"); err != nil {
				t.Fatal(err)
			}
			if err := a.queue.Done(r.ID, "read back"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := a.m.Status(); st.Alone != 40 || st.Behind != 40 || st.Alive {
		t.Errorf("alone: %+v", st)
	}
	b.on()
	for i := range 10 {
		b.must(fmt.Sprint("b", i), content(2000+i, byte(i)))
	}
	a.wait("settled", settled)
	b.wait("settled", settled)
	for i := range 40 {
		b.has(fmt.Sprint("a", i), content(1000+i, byte(i)))
	}
	for i := range 10 {
		a.has(fmt.Sprint("b", i), content(2000+i, byte(i)))
	}
	if n := len(b.queue.List(queue.Delivered)); n != 10 {
		t.Errorf("%d are delivered at the other box, want 10", n)
	}
	before := a.m.Status().Told
	a.stop()
	a.on()
	a.wait("settled", settled)
	if st := a.m.Status(); st.Told != 0 || before == 0 {
		t.Errorf("at the next join %d were told again", st.Told)
	}
}

// Deliveries, holds and releases reach the other box as they happen.
func TestMarks(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	b.wait("alive", alive)
	r := a.must("k", content(100, 1))
	there, _ := b.queue.Named("k")
	is := func(want queue.State) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got, _ := b.queue.Named("k")
			if got.State == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it is %v at the other box, want %v", got.State, want)
			}
		}
	}
	if err := a.queue.Hold(r.ID, "no such patient"); err != nil {
		t.Fatal(err)
	}
	is(queue.Held)
	if err := b.queue.Release(there.ID, "Eva"); err != nil { // at either box
		t.Fatal(err)
	}
	a.wait("settled", settled)
	b.wait("settled", settled)
	if _, _, err := a.queue.Begin(r.ID, "hospital"); err != nil {
		t.Fatal(err)
	}
	if err := a.queue.Done(r.ID, "read back"); err != nil {
		t.Fatal(err)
	}
	is(queue.Delivered)
}

// Without the other box: by default an item is confirmed and counted; where the site
// wants it so it is refused. A box that comes back ends it.
func TestAlone(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse ", refuse), func(t *testing.T) {
			a, b := sides(t)
			a.cfg.Refuse, a.cfg.Wait = refuse, shortly
			a.on()
			if _, err := a.accept("k", content(10, 1)); errors.Is(err, ErrAlone) != refuse || !refuse && err != nil {
				t.Errorf("alone: %v", err)
			}
			b.on()
			a.wait("settled", settled)
			a.must("k", content(10, 1))
			b.has("k", content(10, 1))
			b.stop()
			a.wait("fallen", func(s Status) bool { return !s.Alive })
			a.must("k", content(10, 1)) // it is there already
			if _, err := a.accept("k2", content(10, 2)); errors.Is(err, ErrAlone) != refuse {
				t.Errorf("alone again: %v", err)
			}
		})
	}
}

// A box that hangs holds nobody up for longer than Wait, and nobody but once.
func TestHangs(t *testing.T) {
	a, b := sides(t)
	a.cfg.Wait = 300 * time.Millisecond
	hang := make(chan struct{})
	m, err := New(Config{Key: key, Flight: func() int { return 0 }, Listen: b.cfg.Listen, Peer: b.cfg.Peer}, newQueue(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", b.cfg.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	real := m.handler()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/item" {
			<-hang
		}
		real.ServeHTTP(w, r)
	}))
	srv.Listener, srv.TLS = l, m.terms
	srv.StartTLS()
	defer srv.Close()
	defer close(hang)
	a.on()
	a.wait("alive", alive)
	a.must("k", content(10, 1))
	if st := a.m.Status(); st.Alone == 0 || st.Behind != 1 {
		t.Errorf("%+v", st)
	}
}

// Contents that were accepted apart under one identity: a person is told, once a side
// has taken the other's, and both boxes have both.
func TestClash(t *testing.T) {
	a, b := sides(t)
	a.cfg.Wait = shortly
	b.cfg.Wait = shortly
	a.on()
	a.must("k", content(10, 1))
	a.stop()
	b.on()
	b.must("k", content(10, 2))
	a.on()
	a.wait("settled", settled)
	b.wait("settled", settled)
	if a.clash.Load() == 0 || b.clash.Load() == 0 || len(a.queue.List(queue.Held)) != 2 || len(b.queue.List(queue.Held)) != 2 {
		t.Errorf("told %d and %d times, held %d and %d", a.clash.Load(), b.clash.Load(), len(a.queue.List(queue.Held)), len(b.queue.List(queue.Held)))
	}
}

// The other box's attempts under way are known.
func TestFlight(t *testing.T) {
	a, b := sides(t)
	b.flight.Store(3)
	a.on()
	b.on()
	a.wait("alive", alive)
	if o := a.m.Other(); !o.Alive || o.Flight != 3 {
		t.Errorf("%+v", o)
	}
}

// Who hasn't the pair's key is nobody, and a box doesn't mirror itself.
func TestStrangers(t *testing.T) {
	a, b := sides(t)
	b.cfg.Key = [32]byte{9}
	a.cfg.Wait = shortly
	a.on()
	b.on()
	says := func(text string) func(Status) bool {
		return func(s Status) bool { return !s.Alive && s.Err != nil && strings.Contains(s.Err.Error(), text) }
	}
	a.wait("refused", says("doesn't hold this pair's key"))
	a.must("k", content(10, 1))
	if n := len(b.queue.Known()); n != 0 {
		t.Errorf("a stranger has %d items", n)
	}
	a.stop()
	a.cfg.Peer = a.cfg.Listen
	a.on()
	a.wait("knows itself", says("leads back to this one"))
}

// A session that breaks costs senders time and no copy: while the other box is back
// within Wait nobody is confirmed alone, however often it breaks.
func TestBlip(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	for i := range 5 {
		a.m.fall(errors.New("a blip"))
		name := fmt.Sprint("k", i)
		a.must(name, content(1000, byte(i)))
		b.has(name, content(1000, byte(i)))
	}
	if st := a.m.Status(); st.Alone != 0 {
		t.Errorf("%+v", st)
	}
}

// How long a sender waits: from when it came or something was taken, and not at all
// for a box that is known to be missing for longer than that.
func TestPatience(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	for name, c := range map[string]struct {
		m     *Mirror
		start time.Time
		want  time.Duration
	}{
		"there, it came now":             {&Mirror{up: true, tried: true, since: ago(60), moved: ago(30)}, now, 5 * time.Second},
		"there, takes nothing":           {&Mirror{up: true, tried: true, since: ago(60), moved: ago(30)}, ago(5), 0},
		"there, takes other things":      {&Mirror{up: true, tried: true, since: ago(60), moved: ago(1)}, ago(9), 4 * time.Second},
		"just fell":                      {&Mirror{tried: true, since: now, moved: ago(30)}, now, 2 * time.Second},
		"fell a second ago":              {&Mirror{tried: true, since: ago(1), moved: ago(30)}, ago(1), time.Second},
		"fell long ago":                  {&Mirror{tried: true, since: ago(2), moved: ago(30)}, now, 0},
		"not tried yet: it may be there": {&Mirror{since: ago(9)}, now, 2 * time.Second},
	} {
		c.m.cfg.Wait = 5 * time.Second
		if got := c.m.patience(c.start, now); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// The items of one session outlive cuts at any moment: what was confirmed without
// being counted as alone is in the other box.
func TestCuts(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	var confirmed []string
	for i := range 60 {
		if i%15 == 7 {
			b.stop()
			b.on()
		}
		before := a.m.Status().Alone
		name := fmt.Sprint("k", i)
		a.must(name, content(30_000, byte(i)))
		if a.m.Status().Alone == before {
			confirmed = append(confirmed, name)
			b.has(name, content(30_000, byte(i)))
		}
	}
	a.wait("settled", settled)
	for i := range 60 {
		b.has(fmt.Sprint("k", i), content(30_000, byte(i)))
	}
	if len(confirmed) == 0 {
		t.Error("nothing was ever confirmed by both")
	}
}

// What comes over the cable is bounded and judged before anything is kept.
func FuzzTaken(f *testing.F) {
	v, err := vault.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	q, err := queue.Open(f.TempDir(), queue.Options{Domain: v.Domain("uploads"), Pair: queue.Secret(key), Segment: segment.Options{SegmentSize: 4 << 20, MaxBytes: 64 << 20}})
	if err != nil {
		f.Fatal(err)
	}
	defer q.Close()
	m, err := New(Config{Key: key, Flight: func() int { return 0 }, Clash: func(*queue.Conflict) {}}, q, quiet())
	if err != nil {
		f.Fatal(err)
	}
	h := m.handler()
	good := queue.Copy{Item: queue.Item{Key: "k", Lane: lane.Stat, Kind: "pdf", Origin: "x", Size: 1, Accepted: time.Unix(1, 0)}, Standing: queue.Standing{State: queue.Waiting}}
	head, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/mark", head)
	f.Add("/item", append(append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...), 1))
	f.Add("/item", []byte{0, 0, 0, 0})
	f.Add("/item", []byte{255, 255, 255, 255})
	f.Add("/census", make([]byte, 2048))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "/mark" && path != "/census" {
			path = "/item"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
		for _, k := range q.Known() {
			if k.Size <= 0 {
				t.Errorf("an item of %d bytes", k.Size)
			}
		}
	})
}
