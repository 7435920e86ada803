package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/config"
	"clinicgate/cardauth/pcsc"
)

// A line is the connection to one room's workstation. Safe for concurrent use.
type line struct {
	room    string
	conn    *tls.Conn
	channel []byte
	addr    netip.Addr
	gone    chan struct{} // closed at the end

	mu     sync.Mutex // guards what follows, and writing
	reader frame.Reader
	last   uint32
	asked  map[uint32]chan frame.Answer
}

func newLine(room string, conn *tls.Conn, channel []byte, addr netip.Addr) *line {
	return &line{room: room, conn: conn, channel: channel, addr: addr, gone: make(chan struct{}), asked: map[uint32]chan frame.Answer{}}
}

var errGone = errors.New("the room's workstation is not connected")

// run reads what the workstation says until it falls silent. noticed is called
// when its reader changed.
func (l *line) run(ctx context.Context, noticed func()) error {
	defer close(l.gone)
	defer l.conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.beats(ctx)
	for {
		_ = l.conn.SetReadDeadline(time.Now().Add(silent))
		var a frame.Answer
		if err := frame.Read(l.conn, &a); err != nil {
			return err
		}
		switch {
		case a.ID != 0:
			l.deliver(a)
		case a.Reader != nil:
			if err := checkReader(*a.Reader); err != nil {
				return err
			}
			l.mu.Lock()
			l.reader = *a.Reader
			l.mu.Unlock()
			noticed()
		}
	}
}

// checkReader bounds what a workstation calls its reader: the name is published.
func checkReader(r frame.Reader) error {
	const most = 128
	if len(r.Name) > most || strings.ContainsFunc(r.Name, func(c rune) bool { return c < ' ' || c == 0x7F }) {
		return fmt.Errorf("%w: a reader's name of %d bytes, want at most %d that can be printed", frame.ErrFrame, len(r.Name), most)
	}
	return nil
}

// beats says that we are alive.
func (l *line) beats(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l.write(frame.Request{}) != nil {
				l.conn.Close()
				return
			}
		}
	}
}

func (l *line) write(q frame.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(silent))
	return frame.Write(l.conn, q)
}

// deliver hands an answer to whoever asked. One that nobody waits for is late, or
// made up; it is dropped.
func (l *line) deliver(a frame.Answer) {
	l.mu.Lock()
	c := l.asked[a.ID]
	delete(l.asked, a.ID)
	l.mu.Unlock()
	if c != nil {
		c <- a // buffered
	}
}

// ask sends a request and waits for its answer. The error is a *frame.Failure, or
// the line is of no more use.
func (l *line) ask(q frame.Request, within time.Duration) (frame.Answer, error) {
	c := make(chan frame.Answer, 1)
	l.mu.Lock()
	l.last++
	if l.last == 0 { // no ID means a sign of life
		l.last++
	}
	q.ID = l.last
	l.asked[q.ID] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.asked, q.ID)
		l.mu.Unlock()
	}()
	if err := l.write(q); err != nil {
		l.conn.Close()
		return frame.Answer{}, err
	}
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case a := <-c:
		if a.Error != nil {
			return a, a.Error
		}
		return a, nil
	case <-l.gone:
		return frame.Answer{}, errGone
	case <-late.C:
		return frame.Answer{}, fmt.Errorf("the workstation did not answer in %v", within)
	}
}

// state is the workstation's reader, if it has one.
func (l *line) state() (pcsc.State, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reader
	return pcsc.State{Reader: config.AgentReader(l.room) + r.Name, Card: r.Card, Mute: r.Mute, Events: r.Events}, r.Name != ""
}
