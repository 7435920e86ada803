package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

// An Engine delivers one queue's items.
type Engine struct {
	queue *queue.Queue
	log   *slog.Logger
	lines []*line
	shift shift
	pace  *pace
	other Other // nil: there is none

	mu       sync.Mutex
	homeless map[string]int // items by kind that no destination accepts
}

// New returns the engine for these destinations. Names and accepted kinds come
// from a checked configuration.
func New(q *queue.Queue, to []Destination, p Policy, log *slog.Logger) *Engine {
	e := &Engine{queue: q, log: log, pace: newPace(p.Share), homeless: map[string]int{}}
	shared := newHurry(e.pace)
	for _, d := range to {
		e.lines = append(e.lines, newLine(d, p.withDefaults(), shared))
	}
	return e
}

// Run delivers until ctx ends. What was going on then waits for the next life.
func (e *Engine) Run(ctx context.Context) error {
	e.queue.Watch(e.route)
	var wg sync.WaitGroup
	for _, l := range e.lines {
		for range l.policy.Workers {
			wg.Go(func() { e.work(ctx, l, lane.Bulk) })
		}
		wg.Go(func() { e.work(ctx, l, lane.Stat) })
	}
	wg.Wait()
	return nil
}

// route puts an item in its destination's line. The queue calls it.
func (e *Engine) route(b queue.Brief) {
	for _, l := range e.lines {
		if slices.Contains(l.Accepts, b.Kind) {
			l.add(lane.Entry{ID: b.ID, Lane: b.Lane, Order: b.Order, Accepted: b.Accepted})
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.homeless[b.Kind]++
}

// work makes attempts, one after the other, of the lanes up to least.
func (e *Engine) work(ctx context.Context, l *line, least lane.Lane) {
	for {
		mine := e.shift.await(ctx)
		if mine == nil {
			return
		}
		entry, ok, changed, wait := l.next(time.Now(), least)
		if ok {
			e.attempt(mine, l, entry)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-mine.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt tries to deliver one item and records how that ended.
//
//	stop before Done: the next life tries again, and asking finds the item there
//	stop after Done: delivered
func (e *Engine) attempt(ctx context.Context, l *line, entry lane.Entry) {
	id := queue.ID(entry.ID)
	if !e.shift.take(ctx) {
		l.retry(entry, broken(ctx))
		return
	}
	defer e.shift.done()
	if e.other != nil {
		if err := e.other.Begin(ctx, id); err != nil {
			l.retry(entry, &Failure{Kind: Pending, Reason: err.Error()})
			return
		}
	}
	it, tried, err := e.queue.Begin(id, l.Name)
	switch {
	case errors.Is(err, queue.ErrState), errors.Is(err, queue.ErrUnknown):
		l.done(entry) // somebody else decided about it
		return
	case err != nil: // the disk; it may recover
		e.log.Error("begin delivery", "item", id, "err", err)
		l.retry(entry, &Failure{Kind: Troubled, Reason: "queue"})
		return
	}
	from := &source{
		open:   func() (io.ReadCloser, error) { return e.queue.Body(id) },
		gate:   func() error { return e.gate(ctx, l, it) },
		passed: func(n int) { e.pace.passed(it.Lane, n, time.Now()) },
	}
	start := time.Now()
	proof, err := l.Sender.Send(ctx, it, tried, from.body)
	switch f := (*Failure)(nil); {
	case err == nil:
		e.close(l, entry, proof, time.Since(start))
	case ctx.Err() != nil:
		e.again(l, entry, broken(ctx))
	case errors.Is(from.failed(), errDear):
		e.again(l, entry, &Failure{Kind: Pending, Reason: errDear.Error()})
	case from.failed() != nil:
		e.hold(l, entry, fmt.Sprintf("the stored body can't be read: %v", from.failed()))
	case errors.As(err, &f) && f.Kind == Refused:
		e.hold(l, entry, l.Name+": "+f.Reason)
	default:
		if n := l.tries(entry); failure(err).Kind == Troubled && n >= l.policy.GiveUp && l.passed(entry) {
			e.hold(l, entry, fmt.Sprintf("%s: tried %d times: %v", l.Name, n, failure(err)))
			return
		}
		e.again(l, entry, failure(err))
	}
}

// gate is passed before each piece of an item's body.
func (e *Engine) gate(ctx context.Context, l *line, it queue.Item) error {
	if e.pace.waits(it.Lane, it.Accepted, time.Now()) {
		return errDear
	}
	return l.gate(ctx, it.Lane)()
}

func (e *Engine) close(l *line, entry lane.Entry, proof string, took time.Duration) {
	id := queue.ID(entry.ID)
	if err := e.queue.Done(id, proof); err != nil {
		e.log.Error("close item", "item", id, "err", err)
		e.again(l, entry, &Failure{Kind: Troubled, Reason: "queue"}) // asking will find it there
		return
	}
	e.log.Info("delivered", "item", id, "to", l.Name, "lane", entry.Lane, "proof", proof,
		"attempt", took.Round(time.Millisecond), "since_accepted", time.Since(entry.Accepted).Round(time.Millisecond))
	l.done(entry)
	l.works()
}

func (e *Engine) again(l *line, entry lane.Entry, f *Failure) {
	id := queue.ID(entry.ID)
	if err := e.queue.Again(id); err != nil {
		e.log.Error("end attempt", "item", id, "err", err)
	}
	if f.Kind == Troubled {
		e.log.Warn("attempt failed", "item", id, "to", l.Name, "reason", f)
	}
	if l.retry(entry, f) {
		e.log.Warn("destination fails", "to", l.Name, "reason", f)
	}
}

func (e *Engine) hold(l *line, entry lane.Entry, why string) {
	id := queue.ID(entry.ID)
	if err := e.queue.Hold(id, why); err != nil {
		e.log.Error("hold item", "item", id, "err", err)
		e.again(l, entry, &Failure{Kind: Troubled, Reason: "queue"})
		return
	}
	e.log.Warn("held", "item", id, "to", l.Name, "why", why)
	l.done(entry)
	l.works() // it answered
}

// Nudge ends all pauses of destinations: the network has changed for the better.
func (e *Engine) Nudge() {
	for _, l := range e.lines {
		l.nudge()
	}
}

// Destinations is for the wire file.
func (e *Engine) Destinations() []wire.Destination {
	var all []wire.Destination
	for _, l := range e.lines {
		all = append(all, l.status())
	}
	return all
}

// A FaultKeeper takes the whole truth about one kind of fault.
type FaultKeeper interface {
	Keep(id string, faults ...wire.Fault)
}

// Report states what is wrong with destinations now.
func (e *Engine) Report(to FaultKeeper) {
	var refusing, missing []wire.Fault
	for _, d := range e.Destinations() {
		if d.State == stateRefusing {
			refusing = append(refusing, wire.Fault{
				Severity: wire.Alarm, Where: "destination " + d.Name, What: d.Reason,
				Do: "have the destination's address and our password there checked; what waits is kept",
			})
		}
	}
	e.mu.Lock()
	for kind, n := range e.homeless {
		missing = append(missing, wire.Fault{
			Severity: wire.Alarm, Where: "items of kind " + kind, What: fmt.Sprintf("%d wait and no destination accepts them", n),
			Do: "add the kind to a destination's accepts in the site file; what waits is kept",
		})
	}
	e.mu.Unlock()
	to.Keep("destination.refusing", refusing...)
	to.Keep("destination.dear", e.dearFaults()...)
	to.Keep("destination.missing", missing...)
}

// dearFaults says that uploads wait for money's sake.
func (e *Engine) dearFaults() []wire.Fault {
	on, waiting := e.pace.dear(), 0
	for _, l := range e.lines {
		waiting += l.withheld()
	}
	if on == "" || waiting == 0 {
		return nil
	}
	return []wire.Fault{{
		Severity: wire.Warning, Where: "uplink " + on,
		What: fmt.Sprintf("%d destinations have bulk uploads that wait for an uplink that costs less", waiting),
		Do:   "have the other uplink mended; after sync.share.wait they leave by this one",
	}}
}

// source opens an item's body for a Sender, remembers if reading it failed, and
// lets urgent items pass between two reads.
type source struct {
	open   func() (io.ReadCloser, error)
	gate   func() error
	passed func(n int)

	mu  sync.Mutex
	err error
}

func (s *source) body() (io.ReadCloser, error) {
	r, err := s.open()
	if err != nil {
		s.fail(err)
		return nil, err
	}
	return &sourceReader{s, r}, nil
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type sourceReader struct {
	s *source
	io.ReadCloser
}

// Aside reads a body without its bytes counting as sent: to look at them, or to pass
// over what the destination has.
func Aside(body io.Reader) io.Reader {
	if r, ok := body.(*sourceReader); ok {
		return asideReader{r}
	}
	return body
}

type asideReader struct{ *sourceReader }

func (r asideReader) Read(p []byte) (int, error) { return r.pull(p) }

// turn is how much is sent before urgent items are let pass.
const turn = 64 << 10

func (r *sourceReader) Read(p []byte) (int, error) {
	if err := r.s.gate(); err != nil {
		if errors.Is(err, errDear) {
			r.s.fail(err)
		}
		return 0, err
	}
	n, err := r.pull(p)
	r.s.passed(n)
	return n, err
}

func (r *sourceReader) pull(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), turn)])
	if err != nil && err != io.EOF {
		r.s.fail(err)
	}
	return n, err
}

// jitter spreads what failed together.
func jitter() float64 { return rand.Float64() }
