// Package logbook keeps what the services say: the latest lines in memory, and
// files of bounded size on the data partition once there is one. Whoever writes
// is never made to wait: a slow, full or broken disk costs lines in the files,
// counted, and nothing else.
package logbook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"
)

const (
	maxLine = 4 << 10 // longer lines are cut
	queued  = 512     // lines on their way to the files
)

// Config bounds a Book.
type Config struct {
	Lines int   // kept in memory per service
	Limit int64 // bytes per file; each service has two at most
}

// Book is the log of all services. Its methods are safe for concurrent use.
type Book struct {
	cfg   Config
	files files

	mu      sync.Mutex
	rings   map[string]*ring
	follow  map[chan Line]string // followers and the service each wants, "" for all
	queue   chan Line            // nil until Keep
	lost    int                  // lines since the queue was last free
	done    chan struct{}
	trouble error
}

// Line is one line of one service: a JSON object, as the box's programs log, with
// "time" and "program"; what is not JSON has been wrapped into one.
type Line struct {
	Service string
	Text    string
}

// New returns a Book that keeps lines in memory only.
func New(cfg Config) *Book {
	return &Book{cfg: cfg, rings: map[string]*ring{}, follow: map[chan Line]string{}}
}

// Keep starts writing to files in dir, from what is in memory on. Call it once.
func (b *Book) Keep(dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files = files{dir: dir, limit: b.cfg.Limit, open: map[string]*file{}}
	b.queue = make(chan Line, queued)
	b.done = make(chan struct{})
	for service, r := range b.rings {
		for _, text := range r.lines() {
			b.enqueue(Line{service, text})
		}
	}
	go b.write(b.queue)
}

// Close writes what is queued to the files and closes them. Lines that come later
// stay in memory.
func (b *Book) Close() {
	b.mu.Lock()
	queue := b.queue
	b.queue = nil
	b.mu.Unlock()
	if queue != nil {
		close(queue)
		<-b.done
	}
}

// Output returns the writer for one service's lines: each Write is one line.
func (b *Book) Output(service string) io.Writer { return output{b, service} }

type output struct {
	book    *Book
	service string
}

func (o output) Write(p []byte) (int, error) {
	o.book.add(Line{o.service, structured(o.service, p, time.Now())})
	return len(p), nil
}

// structured makes a log line of what a program printed.
func structured(service string, p []byte, now time.Time) string {
	p = bytes.TrimRight(p, "\r\n")
	if len(p) <= maxLine && len(p) > 0 && p[0] == '{' && json.Valid(p) {
		return string(p)
	}
	if len(p) > maxLine {
		p = p[:maxLine]
	}
	wrapped, err := json.Marshal(struct {
		Time    time.Time `json:"time"`
		Program string    `json:"program"`
		Msg     string    `json:"msg"`
	}{now.UTC(), service, string(p)})
	if err != nil { // no such value; Marshal mends bad UTF-8
		return err.Error()
	}
	return string(wrapped)
}

func (b *Book) add(l Line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rings[l.Service]
	if r == nil {
		r = &ring{text: make([]string, max(b.cfg.Lines, 1))}
		b.rings[l.Service] = r
	}
	r.add(l.Text)
	for c, want := range b.follow {
		if want == "" || want == l.Service {
			select {
			case c <- l:
			default: // a follower that can't keep up misses lines
			}
		}
	}
	if b.queue != nil {
		b.enqueue(l)
	}
}

// enqueue is called with the lock held.
func (b *Book) enqueue(l Line) {
	select {
	case b.queue <- l:
	default:
		b.lost++
	}
}

// Tail returns the latest lines of a service, oldest first, n at most.
func (b *Book) Tail(service string, n int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rings[service]
	if r == nil {
		return nil
	}
	all := r.lines()
	return all[max(0, len(all)-n):]
}

// Follow sends new lines of a service, or of all for "", until ctx ends; then the
// channel is closed. A slow reader misses lines.
func (b *Book) Follow(ctx context.Context, service string) <-chan Line {
	c := make(chan Line, 64)
	b.mu.Lock()
	b.follow[c] = service
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		delete(b.follow, c)
		close(c)
		b.mu.Unlock()
	})
	return c
}

// Trouble is why the files lack lines now, nil when they don't.
func (b *Book) Trouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trouble
}

// A ring holds the latest lines of one service.
type ring struct {
	text []string
	next int
	full bool
}

func (r *ring) add(text string) {
	r.text[r.next] = text
	if r.next++; r.next == len(r.text) {
		r.next, r.full = 0, true
	}
}

func (r *ring) lines() []string {
	if !r.full {
		return append([]string(nil), r.text[:r.next]...)
	}
	return append(append([]string(nil), r.text[r.next:]...), r.text[:r.next]...)
}
