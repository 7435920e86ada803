package hub

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/firmware/lab/pki"
)

// pair is a line whose other end is the test's.
func pair(t *testing.T) (l *line, other *tls.Conn, over chan error) {
	t.Helper()
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := world.Gateway(net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.TLS()}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed := make(chan *tls.Conn, 1)
	go func() {
		c, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := raw.(*tls.Conn)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	l, over = newLine("consulting-2", conn, nil, netip.Addr{}), make(chan error, 1)
	go func() { over <- l.run(t.Context(), func() {}) }()
	other = <-dialed
	t.Cleanup(func() { other.Close(); <-l.gone })
	return l, other, over
}

// patience is how long the tests wait for what must come.
const patience = 30 * time.Second

// alive says for the other end that it lives: a busy machine must not look like a
// workstation that fell silent. It does so until stop is called.
func alive(c *tls.Conn) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-done:
				return
			case <-time.After(beat):
				if frame.Write(c, frame.Answer{}) != nil {
					return
				}
			}
		}
	}()
	return func() { close(done); <-over }
}

// asked reads the next request that is no sign of life.
func asked(t *testing.T, c *tls.Conn) frame.Request {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		var q frame.Request
		if err := frame.Read(c, &q); err != nil {
			t.Fatal(err)
		}
		if q.ID != 0 {
			return q
		}
	}
}

func say(t *testing.T, c *tls.Conn, a frame.Answer) {
	t.Helper()
	if err := frame.Write(c, a); err != nil {
		t.Fatal(err)
	}
}

type said struct {
	a   frame.Answer
	err error
}

// An answer counts for the request it was given to, once: one that was recorded and
// said again, or said before it was asked for, answers nothing.
func TestAttackReplayedAnswer(t *testing.T) {
	l, other, _ := pair(t)
	defer alive(other)()
	ask := func(within time.Duration) chan said {
		out := make(chan said, 1)
		go func() {
			a, err := l.ask(frame.Request{Do: frame.Prove}, within)
			out <- said{a, err}
		}()
		return out
	}
	first := ask(patience)
	q := asked(t, other)
	recorded := frame.Answer{ID: q.ID, Data: []byte("first")}
	say(t, other, recorded)
	if got := <-first; got.err != nil || string(got.a.Data) != "first" {
		t.Fatalf("got %+v", got)
	}
	second := ask(patience)
	q2 := asked(t, other)
	if q2.ID == q.ID {
		t.Fatal("two requests of one ID")
	}
	say(t, other, recorded)
	say(t, other, frame.Answer{ID: q2.ID + 1, Data: []byte("too early")})
	say(t, other, frame.Answer{ID: q2.ID, Data: []byte("second")})
	if got := <-second; got.err != nil || string(got.a.Data) != "second" {
		t.Errorf("got %+v", got)
	}
	third := ask(time.Second)
	if q3 := asked(t, other); q3.ID != q2.ID+1 {
		t.Fatalf("ID %d behind %d: the test's early answer was for no request", q3.ID, q2.ID)
	}
	say(t, other, recorded)
	if got := <-third; got.err == nil {
		t.Errorf("an answer given before it was asked for counted: %+v", got.a)
	}
}

// Answers out of order reach those who asked.
func TestAnswersOutOfOrder(t *testing.T) {
	l, other, _ := pair(t)
	defer alive(other)()
	out := map[string]chan said{}
	ids := map[string]uint32{}
	for _, what := range []string{frame.Open, frame.Close} {
		c := make(chan said, 1)
		out[what] = c
		go func() {
			a, err := l.ask(frame.Request{Do: what}, patience)
			c <- said{a, err}
		}()
		ids[what] = asked(t, other).ID
	}
	for _, what := range []string{frame.Close, frame.Open} {
		say(t, other, frame.Answer{ID: ids[what], Data: []byte(what)})
	}
	for what, c := range out {
		if got := <-c; got.err != nil || string(got.a.Data) != what {
			t.Errorf("%s: got %+v", what, got)
		}
	}
}

// A workstation that does not keep to the protocol, or falls silent in the middle
// of a frame, is gone, and whoever waits for it is told at once.
func TestAttackFramesToHub(t *testing.T) {
	for what, raw := range map[string][]byte{
		"too long":                     binary.BigEndian.AppendUint32(nil, frame.Max+1),
		"of no length":                 make([]byte, 4),
		"not JSON":                     {0, 0, 0, 3, 'a', 'b', 'c'},
		"unknown word":                 append([]byte{0, 0, 0, 9}, `{"pin":1}`...),
		"a name that can't be printed": append([]byte{0, 0, 0, 29}, `{"reader":{"name":"\u0000a"}}`...),
		"half":                         {0, 0, 0, 9, '{'},
	} {
		t.Run(what, func(t *testing.T) {
			l, other, over := pair(t)
			waits := make(chan error, 1)
			go func() {
				_, err := l.ask(frame.Request{Do: frame.Open}, patience)
				waits <- err
			}()
			stop := alive(other)
			asked(t, other)
			stop()
			if _, err := other.Write(raw); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-over:
				if err == nil {
					t.Error("the line ended without a reason")
				}
			case <-time.After(patience):
				t.Fatal("the line is still up")
			}
			if err := <-waits; err == nil {
				t.Error("a request was answered")
			}
		})
	}
}
