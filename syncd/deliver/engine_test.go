package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// partner is a destination with a memory: it keeps what it was sent and counts
// what came twice.
type partner struct {
	mu      sync.Mutex
	has     map[string]int         // how often each item's body was stored
	order   []string               // in which they came
	flight  map[string]bool        // being sent now
	answers func(key string) error // nil: take it
	after   func(key string) error // error though it was taken
	pieces  func(key string)       // called at each piece of a body
}

func newPartner() *partner { return &partner{has: map[string]int{}, flight: map[string]bool{}} }

func (p *partner) Send(ctx context.Context, it queue.Item, tried bool, body Body) (string, error) {
	p.mu.Lock()
	if p.flight[it.Key] {
		p.mu.Unlock()
		panic("two attempts at once for " + it.Key)
	}
	p.flight[it.Key] = true
	there := p.has[it.Key] > 0
	answers, after, pieces := p.answers, p.after, p.pieces
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.flight, it.Key)
		p.mu.Unlock()
	}()
	if answers != nil {
		if err := answers(it.Key); err != nil {
			return "", err
		}
	}
	if there {
		return "found there", nil
	}
	r, err := body()
	if err != nil {
		return "", err
	}
	defer r.Close()
	buf := make([]byte, 1<<20)
	for err == nil {
		if pieces != nil {
			pieces(it.Key)
		}
		_, err = r.Read(buf)
	}
	if err != io.EOF {
		return "", err
	}
	p.mu.Lock()
	p.has[it.Key]++
	p.order = append(p.order, it.Key)
	p.mu.Unlock()
	if after != nil {
		if err := after(it.Key); err != nil {
			return "", err
		}
	}
	return "stored", nil
}

func (p *partner) set(f func(*partner)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

type world struct {
	t      *testing.T
	dir    string
	domain *vault.Domain
	q      *queue.Queue
	p      *partner
	e      *Engine
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), domain: v.Domain("uploads"), p: newPartner()}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	q, err := queue.Open(w.dir, queue.Options{Domain: w.domain, Segment: segment.Options{SegmentSize: 4 << 20}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.q = q
	w.t.Cleanup(func() { q.Close() })
}

func (w *world) run(p Policy) {
	ctx, cancel := context.WithCancel(context.Background())
	w.e = New(w.q, []Destination{{Name: "hospital", Kind: "stow", Accepts: []string{"dicom"}, Sender: w.p}}, p, slog.New(slog.DiscardHandler))
	ended := make(chan struct{})
	go func() {
		w.e.Run(ctx)
		close(ended)
	}()
	w.stop = sync.OnceFunc(func() { cancel(); <-ended })
	w.t.Cleanup(w.stop)
}

func (w *world) accept(key string, l lane.Lane, order string, size int) queue.ID {
	w.t.Helper()
	r, err := w.q.Accept(context.Background(), queue.Item{Key: key, Lane: l, Kind: "dicom", Origin: "CART", Order: order}, bytes.NewReader(make([]byte, size)))
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not after 10 s: %s; lanes %+v, destinations %+v", what, w.q.Lanes(), w.e.Destinations())
		}
	}
}

func (w *world) count(s queue.State, n int) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d %v", n, s), func() bool { return len(w.q.List(s)) == n })
}

func (w *world) once(keys ...string) {
	w.t.Helper()
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	for _, k := range keys {
		if w.p.has[k] != 1 {
			w.t.Errorf("%s is there %d times, want once", k, w.p.has[k])
		}
	}
}

var quick = Policy{First: time.Millisecond, Most: 5 * time.Millisecond, ItemFirst: time.Millisecond, GiveUp: 4}

func TestDeliversOnceThroughFailures(t *testing.T) {
	w := newWorld(t)
	w.accept("early", lane.Routine, "", 100)
	var n int
	w.p.answers = func(key string) error {
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		if n++; n%3 != 0 { // two of three attempts find nobody
			return &Failure{Kind: Unreachable, Reason: "down"}
		}
		return nil
	}
	w.p.after = func(key string) error { // the first answer for each is lost
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		if w.p.has[key+" lost"]++; w.p.has[key+" lost"] == 1 {
			return &Failure{Kind: Unreachable, Reason: "answer lost"}
		}
		return nil
	}
	w.run(quick)
	keys := []string{"early"}
	for i := range 20 {
		keys = append(keys, fmt.Sprint("item", i))
		w.accept(keys[i+1], lane.All()[i%3], fmt.Sprint("patient", i%4), 5000)
	}
	w.count(queue.Delivered, 21)
	w.once(keys...)
	if d := w.e.Destinations()[0]; d.State != "ok" || d.Name != "hospital" {
		t.Errorf("destination %+v", d)
	}
}

// The process ends between the destination's commit and our mark; the next life
// asks and closes the item.
func TestNextLifeAsks(t *testing.T) {
	w := newWorld(t)
	block := make(chan struct{})
	w.p.after = func(string) error { <-block; return errors.New("too late") }
	w.run(quick)
	w.accept("ecg", lane.Stat, "", 100)
	w.eventually("committed", func() bool { w.p.mu.Lock(); defer w.p.mu.Unlock(); return w.p.has["ecg"] == 1 })
	w.q.Close() // nothing more reaches the log
	close(block)
	w.stop()
	w.p.set(func(p *partner) { p.after = nil })
	w.open()
	w.run(quick)
	w.count(queue.Delivered, 1)
	w.once("ecg")
}

// What is refused is held and nothing waits for it; what fails by itself while
// others pass is held in the end; a person's word sends it again.
func TestRefusedIsHeld(t *testing.T) {
	w := newWorld(t)
	w.p.answers = func(key string) error {
		switch key {
		case "refused":
			return Refuse("failure reason A900H")
		case "poison":
			return errors.New("answers 500")
		}
		return nil
	}
	w.run(quick)
	refused := w.accept("refused", lane.Routine, "anna", 10)
	w.accept("poison", lane.Routine, "bert", 10)
	for i := range 5 {
		w.accept(fmt.Sprint("anna", i), lane.Routine, "anna", 10)
		time.Sleep(2 * time.Millisecond)
	}
	w.count(queue.Delivered, 5)
	w.accept("behind poison", lane.Routine, "bert", 10)
	w.count(queue.Held, 2)
	w.count(queue.Delivered, 6)
	why := ""
	for _, b := range w.q.List(queue.Held) {
		why += b.Why + "; "
	}
	if !strings.Contains(why, "hospital: failure reason A900H") || !strings.Contains(why, "times: answers 500") {
		t.Errorf("held because %s", why)
	}
	w.p.set(func(p *partner) { p.answers = nil })
	if err := w.q.Release(refused, "someone"); err != nil {
		t.Fatal(err)
	}
	w.count(queue.Delivered, 7)
	w.once("refused", "behind poison")
}

// A destination that lets nobody in stops the line, not the items; no item is
// blamed, one attempt at a time asks.
func TestRefusingDestination(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	attempts, open := 0, false
	w.p.answers = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		attempts++
		if !open {
			return &Failure{Kind: Refusing, Reason: "answers 401 Unauthorized"}
		}
		return nil
	}
	w.run(Policy{First: 20 * time.Millisecond, Most: 20 * time.Millisecond})
	for i := range 30 {
		w.accept(fmt.Sprint(i), lane.Routine, "", 10)
	}
	w.eventually("refusing", func() bool { return w.e.Destinations()[0].State == "refusing" })
	faults := keeper{}
	w.e.Report(faults)
	if f := faults["destination.refusing"]; len(f) != 1 || !strings.Contains(f[0].What, "401") || len(faults["destination.missing"]) != 0 {
		t.Errorf("faults %+v", faults)
	}
	mu.Lock()
	open = true
	mu.Unlock()
	w.count(queue.Delivered, 30)
	if attempts > 30+200 {
		t.Errorf("%d attempts for 30 items", attempts)
	}
	w.e.Report(faults)
	if len(faults["destination.refusing"]) != 0 {
		t.Errorf("the fault stands: %+v", faults)
	}
}

type keeper map[string][]wire.Fault

func (k keeper) Keep(id string, faults ...wire.Fault) { k[id] = faults }

func TestNoDestination(t *testing.T) {
	w := newWorld(t)
	w.run(quick)
	if _, err := w.q.Accept(context.Background(), queue.Item{Key: "k", Lane: lane.Bulk, Kind: "movie", Origin: "CART"}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	faults := keeper{}
	w.e.Report(faults)
	if f := faults["destination.missing"]; len(f) != 1 || !strings.Contains(f[0].Where, "movie") {
		t.Fatalf("faults %+v", faults)
	}
	w.count(queue.Waiting, 1)
}

// An urgent item passes bulk that is under way: bulk stops between two pieces.
func TestStatPassesBulk(t *testing.T) {
	w := newWorld(t)
	first, on := make(chan struct{}, 10), make(chan struct{})
	var mu sync.Mutex
	moved := 0
	w.p.pieces = func(key string) {
		if strings.HasPrefix(key, "bulk") {
			first <- struct{}{}
			<-on // no piece moves before stat is under way
			mu.Lock()
			moved++
			mu.Unlock()
			<-first
		}
	}
	statHere, letStat := make(chan struct{}), make(chan struct{})
	w.p.answers = func(key string) error {
		if key == "ecg" {
			close(statHere)
			<-letStat
		}
		return nil
	}
	w.run(quick)
	for i := range 3 {
		w.accept(fmt.Sprint("bulk", i), lane.Bulk, "", 3<<20)
	}
	w.eventually("two bulk items under way", func() bool { return len(first) == 2 })
	w.accept("ecg", lane.Stat, "", 100)
	<-statHere
	close(on)
	time.Sleep(50 * time.Millisecond)
	mu.Lock()
	if moved > 2 { // each worker was before one piece
		t.Errorf("%d pieces of bulk moved while stat was under way, want at most 2", moved)
	}
	mu.Unlock()
	close(letStat)
	w.count(queue.Delivered, 4)
	w.once("bulk0", "bulk1", "bulk2", "ecg")
	if w.p.order[0] != "ecg" {
		t.Errorf("order %v, want ecg first", w.p.order)
	}
}

// A body that can't be read is held with the reason; the destination isn't blamed.
func TestDamagedBody(t *testing.T) {
	pass, sent := func() error { return nil }, func(int) {}
	s := &source{open: func() (io.ReadCloser, error) { return nil, segment.ErrDamaged }, gate: pass, passed: sent}
	if _, err := s.body(); err == nil || !errors.Is(s.failed(), segment.ErrDamaged) {
		t.Fatalf("open: %v, %v", err, s.failed())
	}
	s = &source{open: func() (io.ReadCloser, error) { return io.NopCloser(io.MultiReader(strings.NewReader("x"), bad{})), nil }, gate: pass, passed: sent}
	r, err := s.body()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || s.failed() == nil {
		t.Fatalf("read: %v, %v", err, s.failed())
	}
}

type bad struct{}

func (bad) Read([]byte) (int, error) { return 0, segment.ErrDamaged }
