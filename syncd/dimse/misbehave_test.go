package dimse

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/association"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/pdu"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/queue"
)

func ecg(t *testing.T) []byte {
	_, data := splitFile(t, testdata+"anonymous_12lead_1000Hz.dcm")
	return data
}

// waitFor polls for what another goroutine will do.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// Success is said after the queue said so, not before.
func TestSuccessWaitsForTheQueue(t *testing.T) {
	n := start(t, nil)
	release := n.queue.Block()
	defer release()
	s := dial(t, n.addr).open()
	s.command(3, storeRQ(9))
	s.data(3, true, ecg(t))
	waitFor(t, "accept", func() bool { return n.queue.Calls() == 1 })
	s.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if p, err := s.in.Read(); err == nil {
		t.Fatalf("answered %v while nothing was kept", p)
	}
	s.conn.SetReadDeadline(time.Time{})
	release()
	if c := s.answer(); c.Field != command.StoreRSP || c.Status != 0 || c.RespondedTo != 9 || c.Instance != ecgUID {
		t.Errorf("got %+v", c)
	}
}

// Fragments of any size, several in a PDU, several messages in an association.
func TestFragments(t *testing.T) {
	n := start(t, nil)
	s := dial(t, n.addr).open()
	var pdvs []pdu.PDV
	rq := command.Append(nil, command.Command{Field: command.EchoRQ, MessageID: 1, Class: dataset.Verification})
	for i := range rq {
		pdvs = append(pdvs, pdu.PDV{Context: 1, Command: true, Last: i == len(rq)-1, Value: rq[i : i+1]})
	}
	s.send(&pdu.Data{PDVs: pdvs})
	if c := s.answer(); c.Field != command.EchoRSP || c.Status != 0 {
		t.Errorf("got %+v", c)
	}
	data := ecg(t)
	for id := range uint16(3) {
		both := []pdu.PDV{{Context: 3, Command: true, Last: true, Value: command.Append(nil, storeRQ(id))}, {Context: 3, Value: data[:1]}}
		s.send(&pdu.Data{PDVs: both})
		s.data(3, false, data[1:5000])
		for range 200 { // empty ones, of which there may be any number
			s.data(3, false, nil)
		}
		s.data(3, false, data[5000:])
		s.data(3, true, nil)
		if c := s.answer(); c.Status != 0 || c.RespondedTo != id {
			t.Errorf("got %+v", c)
		}
	}
	if err := s.release(); err != nil || len(n.queue.Items()) != 1 {
		t.Errorf("%v, %d items", err, len(n.queue.Items()))
	}
}

// What ends in the middle leaves nothing, however it ends.
func TestHalfAnInstance(t *testing.T) {
	for name, end := range map[string]func(*scu){
		"closed":   func(s *scu) { s.conn.Close() },
		"reset":    func(s *scu) { s.conn.(*net.TCPConn).SetLinger(0); s.conn.Close() },
		"aborted":  func(s *scu) { s.send(&pdu.Abort{}) },
		"released": func(s *scu) { s.send(&pdu.ReleaseRQ{}) },
		"garbage":  func(s *scu) { s.conn.Write([]byte("and then some bytes that are no PDU at all")) },
		"half PDU": func(s *scu) { s.conn.Write([]byte{4, 0, 0, 1, 0, 0, 1, 2, 3}); s.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, nil)
			s := dial(t, n.addr).open()
			meta, data := splitFile(t, testdata+"ct_small.dcm")
			rq := command.Command{Field: command.StoreRQ, MessageID: 1, Class: meta.Class, Instance: meta.Instance, HasData: true}
			s.command(5, rq)
			s.data(5, false, data[:len(data)-10000]) // inside the pixel data
			waitFor(t, "accept", func() bool { return n.queue.Calls() == 1 })
			end(s)
			waitFor(t, "end of the association", func() bool { return strings.Contains(n.log.String(), "dicom association") })
			if len(n.queue.Items()) != 0 || !strings.Contains(n.log.String(), "broke off") {
				t.Errorf("%d items", len(n.queue.Items()))
			}
			// The same once more, whole.
			s = dial(t, n.addr).open()
			s.command(5, rq)
			s.data(5, true, data)
			if c := s.answer(); c.Status != 0 || len(n.queue.Items()) != 1 {
				t.Errorf("afterwards: %+v", c)
			}
		})
	}
}

func TestGarbageInsteadOfAnAssociation(t *testing.T) {
	n := start(t, nil)
	for name, in := range map[string]string{
		"http": "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "zeros": string(make([]byte, 100)),
		"huge": "\x01\x00\xff\xff\xff\xff", "data": string(pdu.Append(nil, &pdu.Data{PDVs: []pdu.PDV{{Context: 1}}})),
	} {
		t.Run(name, func(t *testing.T) {
			s := dial(t, n.addr)
			io.WriteString(s.conn, in)
			s.aborted(pdu.AbortNotSpecified)
		})
	}
	dial(t, n.addr).conn.Close()
	if p, ok := dial(t, n.addr).associate().(*pdu.AssociateAC); !ok {
		t.Errorf("afterwards: %v", p)
	}
}

func TestMessageRules(t *testing.T) {
	n := start(t, nil)
	for name, do := range map[string]func(*scu){
		"data without a command": func(s *scu) { s.data(3, true, []byte("x")) },
		"command in a data set":  func(s *scu) { s.command(3, storeRQ(1)); s.command(3, storeRQ(2)) },
		"other context inside":   func(s *scu) { s.command(3, storeRQ(1)); s.data(5, true, []byte("x")) },
		"command that is none": func(s *scu) {
			s.send(&pdu.Data{PDVs: []pdu.PDV{{Context: 1, Command: true, Last: true, Value: []byte("xyz")}}})
		},
		"endless command": func(s *scu) {
			s.send(&pdu.Data{PDVs: []pdu.PDV{{Context: 1, Command: true, Value: make([]byte, command.MaxSize+1)}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := dial(t, n.addr).open()
			do(s)
			s.aborted(pdu.AbortNotSpecified)
		})
	}
	if len(n.queue.Items()) != 0 {
		t.Errorf("%d items", len(n.queue.Items()))
	}
}

// What is refused by status leaves the association usable.
func TestRefusedByStatus(t *testing.T) {
	n := start(t, nil)
	s := dial(t, n.addr).open()
	with := func(change func(*command.Command)) command.Command { c := storeRQ(4); change(&c); return c }
	for name, c := range map[string]struct {
		context byte
		rq      command.Command
		data    []byte
		want    Status
	}{
		"find":             {3, with(func(c *command.Command) { c.Field = 0x20 }), []byte("query"), statusUnrecognized},
		"other class":      {5, storeRQ(4), []byte("x"), statusNoClass},
		"store to echo":    {1, with(func(c *command.Command) { c.Class = dataset.Verification }), []byte("x"), statusNoClass},
		"no data set":      {3, with(func(c *command.Command) { c.HasData = false }), nil, statusMistyped},
		"no instance":      {3, with(func(c *command.Command) { c.Instance = "" }), []byte("x"), statusBadInstance},
		"not what it says": {3, with(func(c *command.Command) { c.Instance = "1.2.3" }), ecg(t), statusMismatch},
		"garbage":          {3, storeRQ(4), bytes.Repeat([]byte("garbage "), 50000), statusMalformed},
		"cut":              {3, storeRQ(4), ecg(t)[:100000], statusMalformed},
	} {
		s.command(c.context, c.rq)
		if c.data != nil {
			s.data(c.context, true, c.data)
		}
		got := s.answer()
		if Status(got.Status) != c.want || got.Comment == "" || got.Field != c.rq.Field.Response() {
			t.Errorf("%s: %+v, want %v", name, got, c.want)
		}
	}
	s.command(3, storeRQ(5))
	s.data(3, true, ecg(t))
	if c := s.answer(); c.Status != 0 || len(n.queue.Items()) != 1 {
		t.Errorf("afterwards: %+v", c)
	}
	if err := s.release(); err != nil {
		t.Error(err)
	}
}

// Two hundred carts at once; and when there are more than we serve, each is told.
func TestManyAtOnce(t *testing.T) {
	n := start(t, func(o *Options) { o.Associations = 200 })
	data := ecg(t)
	var carts sync.WaitGroup
	open := make([]*scu, 200)
	for i := range open {
		open[i] = dial(t, n.addr).open()
	}
	if rj, ok := dial(t, n.addr).associate().(*pdu.AssociateRJ); !ok || rj.Result != pdu.RejectedTransient {
		t.Errorf("the 201st: %v", rj)
	}
	for _, s := range open {
		carts.Go(func() {
			s.command(3, storeRQ(1))
			s.data(3, true, data)
			if c := s.answer(); c.Status != 0 {
				t.Errorf("got %+v", c)
			}
			if err := s.release(); err != nil {
				t.Error(err)
			}
		})
	}
	carts.Wait()
	if len(n.queue.Items()) != 1 || n.queue.Calls() != 200 {
		t.Errorf("%d items from %d calls, want 1 from 200", len(n.queue.Items()), n.queue.Calls())
	}
	waitFor(t, "a free place", func() bool { _, ok := dial(t, n.addr).associate().(*pdu.AssociateAC); return ok })
}

// drain takes what comes and keeps nothing.
type drain struct{}

func (drain) Instance(_ context.Context, _ ingest.Instance, data io.Reader) (queue.Receipt, error) {
	n, err := io.Copy(io.Discard, data)
	return queue.Receipt{Size: n}, err
}

// A large instance passes in a few PDUs' worth of memory.
func TestLargeInstanceStreams(t *testing.T) {
	n := start(t, func(o *Options) { o.Door = drain{} })
	s := dial(t, n.addr).open()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.command(3, storeRQ(1))
	const size = 256 << 20
	piece := pdu.Append(nil, &pdu.Data{PDVs: []pdu.PDV{{Context: 3, Value: make([]byte, 64<<10)}}})
	for range size / (64 << 10) {
		if _, err := s.conn.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	s.data(3, true, []byte{0, 0})
	if c := s.answer(); c.Status != 0 {
		t.Errorf("got %+v", c)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > size/8 {
		t.Errorf("%d MiB allocated for %d MiB", got>>20, size>>20)
	}
}

// pipeListener hands out one end of a net.Pipe, so that time can be a test's.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble serves on a pipe with the clock of a synctest bubble.
func inBubble(t *testing.T, f func(t *testing.T, q *memqueue.Queue, dial func() *scu)) {
	synctest.Test(t, func(t *testing.T) {
		q := &memqueue.Queue{}
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- New(Options{
				Title: "CLINICGATE", Door: ingest.New(q, &memqueue.Faults{}), Log: slog.New(slog.DiscardHandler),
				Timing: association.Timing{ARTIM: 30 * time.Second, Idle: 2 * time.Minute},
			}).Serve(ctx, l)
		}()
		f(t, q, func() *scu { a, b := net.Pipe(); l.conns <- b; return newSCU(t, a) })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A peer that connects and says nothing is gone after the ARTIM.
func TestSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *memqueue.Queue, dial func() *scu) {
		began := time.Now()
		if p, err := dial().in.Read(); err == nil {
			t.Errorf("got %v", p)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("held for %v, want the ARTIM's 30s", took)
		}
	})
}

// A sender that drips a byte a second is cut off, whether in a PDU or between two.
func TestSlowSender(t *testing.T) {
	inBubble(t, func(t *testing.T, q *memqueue.Queue, dial func() *scu) {
		s := dial().open()
		s.command(3, storeRQ(1))
		began := time.Now()
		var sender sync.WaitGroup
		sender.Go(func() {
			drip := pdu.Append(nil, &pdu.Data{PDVs: []pdu.PDV{{Context: 3, Value: make([]byte, 10000)}}})
			for i := range drip {
				time.Sleep(time.Second)
				if _, err := s.conn.Write(drip[i : i+1]); err != nil {
					return
				}
			}
		})
		s.aborted(pdu.AbortNotSpecified)
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("held for %v, want 2m", took)
		}
		if len(q.Items()) != 0 {
			t.Error("kept something")
		}
		s.conn.Close()
		sender.Wait()
	})
}

// Stopping aborts what is open and waits for no peer.
func TestStop(t *testing.T) {
	inBubble(t, func(t *testing.T, q *memqueue.Queue, dial func() *scu) {
		q.Block() // for ever
		s := dial().open()
		s.command(3, storeRQ(1))
		go func() {
			s.data(3, true, ecg(t))
			for {
				if _, err := s.in.Read(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
	})
}
