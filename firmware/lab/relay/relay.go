// Package relay is a cable that a lab can cut, slow down and make lossy. It
// guarantees that frames stay in order and unchanged, and that equal seeds give
// equal losses.
package relay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// An End is where a cable goes in: a device of a namespace or of a virtual
// machine. ReadFrame waits for one Ethernet frame; it and WriteFrame may run at
// the same time; Close makes ReadFrame return an error.
type End interface {
	ReadFrame(buf []byte) (int, error)
	WriteFrame(frame []byte) error
	io.Closer
}

// maxFrame holds any frame an end may carry, also a coalesced one.
const maxFrame = 64 << 10

// Link is a running cable between ends A and B.
type Link struct {
	a, b   End
	ab, ba *pipe
	wg     sync.WaitGroup
}

// New connects two ends. Close closes both.
func New(a, b End, seed uint64) *Link {
	l := &Link{a: a, b: b, ab: newPipe(seed), ba: newPipe(seed + 1)}
	l.wg.Go(func() { l.ab.read(a) })
	l.wg.Go(func() { l.ab.write(b) })
	l.wg.Go(func() { l.ba.read(b) })
	l.wg.Go(func() { l.ba.write(a) })
	return l
}

// Set gives both directions the same faults.
func (l *Link) Set(f Faults) {
	l.SetAB(f)
	l.SetBA(f)
}

// SetAB gives faults to the direction from A to B.
func (l *Link) SetAB(f Faults) { l.ab.set(f) }

// SetBA gives faults to the direction from B to A.
func (l *Link) SetBA(f Faults) { l.ba.set(f) }

// Cut makes every frame vanish, those under way included, and leaves the carriers
// up: an ISP dying silently.
func (l *Link) Cut() { l.Set(Faults{Cut: true}) }

// Restore makes the cable good again.
func (l *Link) Restore() { l.Set(Faults{}) }

// Counts says what became of the frames of one direction.
type Counts struct {
	Passed, Dropped uint64
}

// Counts returns the counts from A to B and from B to A.
func (l *Link) Counts() (ab, ba Counts) { return l.ab.counted(), l.ba.counted() }

// Close unplugs the cable and closes both ends.
func (l *Link) Close() error {
	l.ab.stop()
	l.ba.stop()
	err := errors.Join(l.a.Close(), l.b.Close())
	l.wg.Wait()
	return err
}

// flight is a frame under way.
type flight struct {
	at    time.Time
	frame []byte
}

// pipe is one direction.
type pipe struct {
	mu     sync.Mutex
	shaper *Shaper
	cut    bool
	counts Counts
	queue  chan flight // in order of arrival, which the shaper keeps
	done   chan struct{}
	once   sync.Once
}

// maxFlight bounds the frames under way in one direction: a second of full
// frames at 100 Mbit/s.
const maxFlight = 8192

func newPipe(seed uint64) *pipe {
	return &pipe{shaper: NewShaper(seed), queue: make(chan flight, maxFlight), done: make(chan struct{})}
}

func (p *pipe) set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shaper.Set(f)
	p.cut = f.Cut
}

func (p *pipe) stop() { p.once.Do(func() { close(p.done) }) }

func (p *pipe) counted() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// read takes frames in until the end is closed.
func (p *pipe) read(from End) {
	buf := make([]byte, maxFrame)
	for {
		n, err := from.ReadFrame(buf)
		if err != nil {
			return
		}
		at, ok := p.fate(n)
		if !ok {
			continue
		}
		select {
		case p.queue <- flight{at, append([]byte(nil), buf[:n]...)}:
		default:
			p.drop()
		}
	}
}

func (p *pipe) fate(size int) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.shaper.Next(time.Now(), size)
	if !ok {
		p.counts.Dropped++
	}
	return at, ok
}

func (p *pipe) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Dropped++
}

// write hands frames out when their time has come. A frame the end doesn't take
// (its device is down, its machine not started) is lost, as on a real cable.
func (p *pipe) write(to End) {
	for {
		select {
		case <-p.done:
			return
		case f := <-p.queue:
			if !p.sleep(time.Until(f.at)) {
				return
			}
			p.count(to, f.frame)
		}
	}
}

func (p *pipe) count(to End, frame []byte) {
	p.mu.Lock()
	cut := p.cut
	p.mu.Unlock()
	ok := !cut && to.WriteFrame(frame) == nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		p.counts.Passed++
	} else {
		p.counts.Dropped++
	}
}

// sleep waits; false: the cable was unplugged.
func (p *pipe) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return false
	case <-timer.C:
		return true
	}
}

// A Carrier is an end whose device can be told that its cable is out.
type Carrier interface {
	SetCarrier(up bool) error
}

// ErrNoCarrier is returned for an end that can't lose its carrier by itself.
var ErrNoCarrier = errors.New("this end has no carrier of its own")

// Carrier sets the carrier of both ends that have one.
func (l *Link) Carrier(up bool) error {
	found := false
	for _, e := range []End{l.a, l.b} {
		c, ok := e.(Carrier)
		if !ok {
			continue
		}
		found = true
		if err := c.SetCarrier(up); err != nil && !errors.Is(err, os.ErrClosed) {
			return fmt.Errorf("set carrier: %w", err)
		}
	}
	if !found {
		return ErrNoCarrier
	}
	return nil
}
