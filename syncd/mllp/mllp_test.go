package mllp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/hl7"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
)

// A node is a server on loopback with a queue in memory.
type node struct {
	t      *testing.T
	addr   string
	queue  *memqueue.Queue
	faults *memqueue.Faults
}

func start(t *testing.T, o Options) *node {
	t.Helper()
	n := &node{t: t, queue: &memqueue.Queue{}, faults: &memqueue.Faults{}}
	o.Door, o.Log = ingest.New(n.queue, n.faults), slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return n
}

// A sender is one connection.
type sender struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (n *node) connect() *sender {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &sender{n.t, conn, bufio.NewReader(conn)}
}

func (s *sender) send(message string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, "\x0b"+message+"\x1c\r"); err != nil {
		s.t.Fatal(err)
	}
}

// ack reads an acknowledgement and returns its MSA and what is behind it.
func (s *sender) ack() string {
	s.t.Helper()
	body, err := block(s.in, 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), "\r")
	return rest
}

func (s *sender) want(ack string) {
	s.t.Helper()
	if got := s.ack(); !strings.HasPrefix(got, ack) {
		s.t.Fatalf("got %q, want %q", got, ack)
	}
}

// result is a real message as a sender sends it in production.
func result(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../hl7/testdata/ORU-R01-01.hl7")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.Replace(string(b), "|T|2.5", "|P|2.5", 1), "\n", "\r")
}

const control = "2.16.840.1.114222.4.3.3.5.1.2-20120314235954.325"

func TestResult(t *testing.T) {
	n := start(t, Options{Senders: []string{"IA PHIMS Stage"}})
	message := result(t)
	s := n.connect()
	for range 2 { // the second is the same item
		s.send(message)
		s.want("MSA|CA|" + control + "\r")
	}
	original := strings.Replace(message, "|AL|NE|", "|||", 1) // the same id, another body
	s.send(original)
	s.want("MSA|AR|" + control + "\rERR|||205^^HL70357")
	s.send(strings.Replace(original, "235954.325", "235954.326", 1))
	s.want("MSA|AA|" + strings.Replace(control, ".325", ".326", 1) + "\r")
	items := n.queue.Items()
	if len(items) != 2 || items[0].Kind != "hl7v2" || items[0].Origin != "IA PHIMS Stage" || items[0].Meta["patient-id"] != "14" {
		t.Fatalf("%d items: %+v", len(items), items)
	}
	if string(items[0].Body) != message && string(items[1].Body) != message {
		t.Error("the message was changed")
	}
	if len(n.faults.List()) == 0 {
		t.Error("nobody is told of the same id with another body")
	}
}

// No acknowledgement before the queue has it; an error, not a rejection, when it
// could not be kept: then the sender tries again.
func TestAckWaitsForTheQueue(t *testing.T) {
	n := start(t, Options{})
	message := result(t)
	s := n.connect()
	n.queue.SetFull(true)
	s.send(message)
	s.want("MSA|CE|" + control)
	n.queue.SetFull(false)
	n.queue.SetError(memqueue.ErrDisk)
	s.send(message)
	s.want("MSA|CE|" + control)
	n.queue.SetError(nil)
	release := n.queue.Block()
	defer release()
	s.send(message)
	s.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := s.in.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a word before the queue has it: %v", err)
	}
	s.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	release()
	s.want("MSA|CA|" + control)
}

func TestRefused(t *testing.T) {
	n := start(t, Options{MaxMessage: 20000, Senders: []string{"A", "ADTApp", "IA PHIMS Stage"}})
	const msh = "MSH|^~\\&|A|B|C|D|||"
	for message, ack := range map[string]string{
		msh + "ADT^A01|1|P|2.5\rPID|1\r":                                                      "MSA|AR|1\rERR|||200^^HL70357",
		msh + "ORU^R01|2|T|2.5\rPID|1\r":                                                      "MSA|AR|2\rERR|||202^^HL70357",
		msh + "ORU^R01|3|P|2.3|||AL\rnonsense\r":                                              "MSA|CR|3|segment 2",
		msh + "ORU^R01||P|2.5\rPID|1\r":                                                       "MSA|AR|\rERR|||101^^HL70357",
		"no message at all":                                                                   "MSA|AR|\rERR|||100^^HL70357",
		"MSH|^~\\&|X|B|C|D|||ORU^R01|4|P|2.5\rPID|1\r":                                        "MSA|AR|4\rERR|||207^^HL70357",
		msh + "ORU^R01|5|P|2.5\rOBX|" + strings.Repeat("x", 20000):                            "MSA|AR|5\rERR|||100^^HL70357",
		msh + "ORU^R01|6|P|2.5|||NE|NE\rPID|1\r\x1c\r\x0b" + msh + "ORU^R01|7|P|2.5\rPID|1\r": "MSA|AA|7\r", // the first wants no word
	} {
		s := n.connect()
		s.send(message)
		s.want(ack)
	}
	if got := len(n.queue.Items()); got != 2 {
		t.Errorf("%d items, want the two that were right", got)
	}
}

func TestFraming(t *testing.T) {
	n := start(t, Options{Patience: 200 * time.Millisecond, Conns: 2})
	message := result(t)
	for name, c := range map[string]struct {
		raw  string
		kept bool
	}{
		"line ends between":     {"\r\n\x0b" + message + "\x1c\r", true},
		"no start":              {message + "\x1c\r", false},
		"no tail":               {"\x0b" + message + "\x1cX", false},
		"stops in the middle":   {"\x0b" + message[:1000], false},
		"stops before the tail": {"\x0b" + message + "\x1c", false},
	} {
		s := n.connect()
		io.WriteString(s.conn, c.raw)
		_, err := block(s.in, 1<<20)
		if (err == nil) != c.kept {
			t.Errorf("%s: %v", name, err)
		}
		s.conn.Close()
	}
	if got := len(n.queue.Items()); got != 1 {
		t.Errorf("%d items, want 1", got)
	}
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte("\x0bMSH|\x1c\r"), 10)
	f.Add([]byte("\r\n\x0b\x1c\r\x0b"), 0)
	f.Fuzz(func(t *testing.T, raw []byte, most int) {
		most = max(0, min(most, 1<<16))
		in := bufio.NewReaderSize(bytes.NewReader(raw), 16)
		for {
			body, err := block(in, most)
			if len(body) > most {
				t.Fatalf("%d bytes, want at most %d", len(body), most)
			}
			if err != nil {
				return
			}
			if bytes.IndexByte(body, blockEnd) >= 0 {
				t.Fatalf("an end inside of %q", body)
			}
			if _, err := hl7.Header(body); err != nil && !errors.Is(err, hl7.ErrNoHeader) {
				t.Fatal(err)
			}
		}
	})
}
