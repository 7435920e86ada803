package mirror

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"clinicgate/firmware/twin"
	"clinicgate/syncd/mirror/census"
	"clinicgate/syncd/queue"
)

// Bounds of what is taken at once. An item in progress needs a chunk of the queue's
// in memory, and a head.
const (
	maxConns = 4 * (tellers + bulk)
	maxTaken = 2 * (tellers + bulk)
	maxHead  = 256 << 10 // of a description; the queue bounds it to less
	stalled  = 30 * time.Second
)

// take listens to the other box until ctx ends.
func (m *Mirror) take(ctx context.Context) error {
	for ctx.Err() == nil {
		lc := net.ListenConfig{Control: twin.OnPort(m.cfg.Port)}
		l, err := lc.Listen(ctx, "tcp", m.cfg.Listen.String())
		if err == nil {
			err = m.serve(ctx, l)
		}
		if ctx.Err() == nil {
			m.log.Warn("the other box can't tell its uploads", "listen", m.cfg.Listen, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// serve is take on one listener.
func (m *Mirror) serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler: m.handler(), ReadHeaderTimeout: handshake, IdleTimeout: time.Minute, MaxHeaderBytes: 4 << 10,
		ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
		case <-ended:
		}
		s.Close()
	}()
	return s.Serve(tls.NewListener(&few{Listener: l, free: make(chan struct{}, maxConns)}, m.terms))
}

// few bounds the connections: more wait.
type few struct {
	net.Listener
	free chan struct{}
}

func (f *few) Accept() (net.Conn, error) {
	f.free <- struct{}{}
	c, err := f.Listener.Accept()
	if err != nil {
		<-f.free
		return nil, err
	}
	return &fewConn{Conn: c, free: f.free}, nil
}

type fewConn struct {
	net.Conn
	free chan struct{}
}

func (c *fewConn) Close() error {
	err := c.Conn.Close()
	if err == nil { // the first of them
		<-c.free
	}
	return err
}

// handler answers the other box.
func (m *Mirror) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pulse", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(vital{V: version, Run: m.run, Flight: m.cfg.Flight()}) // one that hung up
	})
	mux.HandleFunc("POST /census", m.takeCensus)
	mux.HandleFunc("POST /begun", m.takeBegun)
	mux.HandleFunc("POST /mark", m.takeMark)
	room := make(chan struct{}, maxTaken)
	mux.HandleFunc("POST /item", func(w http.ResponseWriter, r *http.Request) {
		room <- struct{}{}
		defer func() { <-room }()
		m.takeItem(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.flights.heard = time.Now()
		m.mu.Unlock()
		mux.ServeHTTP(w, r)
	})
}

func (m *Mirror) takeCensus(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err != nil {
		m.answer(w, err)
		return
	}
	theirs, err := census.ReadDigest(text)
	if err != nil {
		m.answer(w, err)
		return
	}
	list := census.Answer(theirs, rowsOf(m.queue.Known()))
	_, _ = w.Write(list.Append(nil)) // one that hung up
}

func (m *Mirror) takeMark(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHead))
	if err != nil {
		m.answer(w, err)
		return
	}
	c, err := readCopy(text)
	if err == nil {
		err = m.queue.Merge(c.Item.Key, c.Item.Digest, c.Standing)
	}
	m.answer(w, err)
}

// takeItem answers only when the item is durable here.
func (m *Mirror) takeItem(w http.ResponseWriter, r *http.Request) {
	body := &patient{r: r.Body, deadline: http.NewResponseController(w).SetReadDeadline}
	c, err := readHead(body)
	if err != nil {
		m.answer(w, err)
		return
	}
	conflict, err := m.queue.Import(r.Context(), c, body)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // one that is known was not read
	}
	if conflict != nil && err == nil {
		m.cfg.Clash(conflict)
	}
	m.answer(w, err)
}

// readHead reads the description in front of a body.
func readHead(r io.Reader) (c queue.Copy, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return c, fmt.Errorf("description of an item: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxHead {
		return c, fmt.Errorf("%w: description of %d bytes, want 1 to %d", queue.ErrInvalid, n, maxHead)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return c, fmt.Errorf("description of an item: %w", err)
	}
	return readCopy(text)
}

func readCopy(text []byte) (c queue.Copy, err error) {
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%w: %w", queue.ErrInvalid, err)
	}
	return c, nil
}

// answer says what became of it: 409 say it again, 404 tell the whole item.
func (m *Mirror) answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		m.mu.Lock()
		m.taken++
		m.mu.Unlock()
		w.WriteHeader(http.StatusOK)
	case errors.Is(err, queue.ErrState):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, queue.ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, queue.ErrFull):
		http.Error(w, "its disk is full", http.StatusInsufficientStorage)
	case errors.Is(err, queue.ErrInvalid), errors.Is(err, census.ErrForm), errors.Is(err, queue.ErrDigest):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		m.log.Warn("an upload of the other box's was not taken", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// A patient reader gives up on a sender that sends nothing.
type patient struct {
	r        io.Reader
	deadline func(time.Time) error
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.deadline(time.Now().Add(stalled)) // where there are none, the session's end ends it
	n, err := p.r.Read(b)
	if err == io.EOF { // what comes now is our own work, however long it takes
		_ = p.deadline(time.Time{})
	}
	return n, err
}
