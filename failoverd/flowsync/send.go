package flowsync

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"clinicgate/failoverd/flowsync/ctnl"
	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/failoverd/flowsync/ledger"
)

// outgoing is what is known of the session in which this box tells. mu of Sync
// guards it.
type outgoing struct {
	up      bool
	err     error // of the last session or attempt
	sent    int
	asked   uint64 // pings
	heard   uint64 // pongs
	askedAt time.Time
	lately  time.Duration
}

// lag is how far the other box is behind: what the last ping took, or the age of
// one that is not answered yet.
func (o *outgoing) lag(now time.Time) time.Duration {
	if o.heard < o.asked {
		return max(o.lately, now.Sub(o.askedAt))
	}
	return o.lately
}

// again is the time between two attempts to reach the other box.
const again = 200 * time.Millisecond

// tell keeps a session to the other box and tells it this one's flows.
func (s *Sync) tell(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := s.dial(ctx)
		if err == nil {
			err = s.telling(ctx, conn)
		}
		if ctx.Err() != nil {
			return nil
		}
		s.ended(err)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
	return nil
}

func (s *Sync) ended(err error) {
	s.mu.Lock()
	changed := s.out.up || s.out.err == nil || s.out.err.Error() != err.Error()
	s.out = outgoing{err: err}
	s.mu.Unlock()
	s.forget()
	if changed {
		s.log.Info("not telling the other box", "err", err)
		ring(s.bell)
	}
}

// telling is one session. It returns why it ended.
func (s *Sync) telling(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer conn.NetConn().Close()
	context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	s.mu.Lock()
	s.out = outgoing{up: true}
	s.mu.Unlock()
	ring(s.bell)
	s.log.Info("telling the other box", "peer", s.cfg.Peer)
	go func() { cancel(s.pongs(conn)) }()
	err := s.tellAll(ctx, conn)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// pongs hears the other box's answers, and its silence.
func (s *Sync) pongs(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(silent)); err != nil {
			return err
		}
		m, err := flow.Read(r)
		if err != nil {
			return err
		}
		if m.Kind != flow.Pong {
			return fmt.Errorf("got message %d, want pong", m.Kind)
		}
		s.mu.Lock()
		if m.Seq == s.out.asked {
			s.out.heard, s.out.lately = m.Seq, time.Since(s.out.askedAt)
		}
		s.mu.Unlock()
	}
}

// A teller is one session's writing side; it belongs to one goroutine.
type teller struct {
	s    *Sync
	w    *bufio.Writer
	told *ledger.Told
	buf  []byte
	run  int   // messages since the last ping
	err  error // of the first write that failed
}

// longRun is how many messages are said without asking whether they arrive.
const longRun = 1000

func (t *teller) say(ms ...flow.Message) {
	for _, m := range ms {
		if t.err == nil {
			_, t.err = t.w.Write(m.Append(t.buf[:0]))
		}
	}
	if t.run += len(ms); t.run > longRun {
		t.run = 0
		t.ping()
	}
}

// tellAll tells while this box owns the connections, and shows that it lives otherwise.
func (s *Sync) tellAll(ctx context.Context, conn net.Conn) error {
	t := &teller{s: s, w: bufio.NewWriterSize(patient{conn}, 16<<10), buf: make([]byte, 0, 300)}
	pulse := time.NewTicker(beat)
	defer pulse.Stop()
	for t.err == nil && ctx.Err() == nil {
		if s.owns() {
			t.stream(ctx, pulse.C)
			continue
		}
		t.ping() // the first one says that there is nothing to tell
		select {
		case <-ctx.Done():
		case <-s.turned:
		case <-pulse.C:
		case text := <-s.say:
			t.note(text)
		}
	}
	return t.err
}

// ping asks for an answer once the last one has come, and sends what waits.
func (t *teller) ping() {
	t.s.mu.Lock()
	o := &t.s.out
	due := o.heard == o.asked
	if due {
		o.asked, o.askedAt = o.asked+1, time.Now()
	}
	o.sent = 0
	if t.told != nil {
		o.sent = t.told.Len()
	}
	seq := o.asked
	t.s.mu.Unlock()
	if due {
		t.say(flow.Message{Kind: flow.Ping, Seq: seq})
	}
	if t.err == nil {
		t.err = t.w.Flush()
	}
}

// buffer is how many bytes of events the kernel keeps for us: some ten thousand
// changes, a second of a busy clinic with this program asleep.
const buffer = 8 << 20

// stream tells everything, then every change, until this box is the owner no more
// or the session fails. When the kernel dropped events it begins again; the other box
// is told only what differs.
func (t *teller) stream(ctx context.Context, pulse <-chan time.Time) {
	t.told = ledger.NewTold(t.s.cfg.Max)
	defer func() { t.told = nil }()
	t.say(flow.Message{Kind: flow.BulkStart})
	bulk := true
	for t.err == nil && ctx.Err() == nil && t.s.owns() {
		src, err := t.s.reader.Listen()
		if err == nil {
			err = t.follow(ctx, src, bulk, pulse)
			src.Close()
			bulk = false
		}
		if errors.Is(err, ctnl.ErrOverrun) {
			t.s.mu.Lock()
			t.s.counts.Overruns++
			t.s.mu.Unlock()
			t.s.log.Warn("listing all connections anew", "err", err)
		} else if err != nil {
			t.err = err
		}
	}
}

// follow lists, then takes events and lists again now and then. nil: no longer
// the owner, or the session's end.
func (t *teller) follow(ctx context.Context, src Events, bulk bool, pulse <-chan time.Time) error {
	events := make(chan ctnl.Event, 1024) // full: the kernel's buffer holds the rest
	failed := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() { failed <- pump(src, events, stop) }()
	if err := t.list(); err != nil {
		return err
	}
	if bulk {
		t.say(flow.Message{Kind: flow.BulkEnd})
	}
	t.ping()
	listing := time.NewTicker(ledger.Every)
	defer listing.Stop()
	for t.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-t.s.turned:
			if !t.s.owns() {
				return nil
			}
		case err := <-failed:
			return err
		case ev := <-events:
			t.event(ev)
			t.rest(events)
		case <-listing.C:
			if err := t.list(); err != nil {
				return err
			}
		case <-pulse:
			t.ping()
		case text := <-t.s.say:
			t.rest(events)
			t.note(text)
		}
	}
	return nil
}

// rest takes the events that wait already, so that they travel together.
func (t *teller) rest(events <-chan ctnl.Event) {
	for range cap(events) {
		select {
		case ev := <-events:
			t.event(ev)
			continue
		default:
		}
		break
	}
	if t.err == nil {
		t.err = t.w.Flush()
	}
}

func pump(src Events, events chan<- ctnl.Event, stop <-chan struct{}) error {
	for {
		ended := false
		err := src.Next(func(ev ctnl.Event) {
			select {
			case events <- ev:
			case <-stop:
				ended = true
			}
		})
		if err != nil {
			return err
		}
		if ended {
			return io.EOF
		}
	}
}

func (t *teller) event(ev ctnl.Event) {
	f := ev.Flow
	if ev.Gone {
		t.say(t.told.Gone(f.Key)...)
		return
	}
	if ev.Partial { // the state is as it was; unknown, the next listing has it
		old, ok := t.told.Get(f.Key)
		if !ok {
			return
		}
		f.State, f.Scale = old.State, old.Scale
	}
	t.seen(f)
}

func (t *teller) seen(f flow.Flow) {
	t.s.mu.Lock()
	passing := t.s.passing(f)
	t.s.mu.Unlock()
	if !passing {
		return
	}
	dropped := t.told.Dropped
	t.say(t.told.Seen(f, time.Now())...)
	if n := t.told.Dropped - dropped; n > 0 {
		t.s.mu.Lock()
		t.s.counts.Dropped += n
		t.s.mu.Unlock()
	}
}

func (t *teller) list() error {
	t.told.Begin()
	if err := t.s.reader.List(func(ev ctnl.Event) { t.seen(ev.Flow) }); err != nil {
		return err
	}
	t.say(t.told.Missing()...)
	return nil
}
