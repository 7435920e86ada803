package room

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/pinpad"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// A counter is a workstation's reader with a card in it, and whoever sits there.
// It counts what must not happen behind their back.
type counter struct {
	card *pivcard.Card
	keys string // typed on the reader's own keys; empty: it has none

	mu     sync.Mutex
	asked  int
	held   int
	passed int // commands that reached the card
}

// Watch says that the card is in.
func (c *counter) Watch(ctx context.Context, changed func([]pcsc.State)) error {
	changed([]pcsc.State{{Reader: "Reader 0", Card: true, Events: 1}})
	<-ctx.Done()
	return nil
}

// Connect holds it.
func (c *counter) Connect(string) (Link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
	return link{c}, nil
}

// Ask types the right PIN.
func (c *counter) Ask(context.Context, string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return []byte("123456"), nil
}

func (c *counter) counts() (asked, held, passed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.held, c.passed
}

type link struct{ c *counter }

// Transmit passes a command on.
func (l link) Transmit(cmd []byte) ([]byte, error) {
	l.c.mu.Lock()
	l.c.passed++
	l.c.mu.Unlock()
	return l.c.card.Transmit(cmd), nil
}

// Close resets the card.
func (l link) Close() {
	l.c.mu.Lock()
	l.c.held--
	l.c.mu.Unlock()
	l.c.card.Reset()
}

// HasPad reports whether the reader has keys.
func (l link) HasPad() bool { return l.c.keys != "" }

// VerifyOnPad does what a reader does with PIN_VERIFY_STRUCTURE (PC/SC part 10
// §2.5.2): it puts what is typed, left-justified in ASCII, into the command that
// the structure carries.
func (l link) VerifyOnPad(cmd []byte) ([]byte, error) {
	how, err := pinpad.VerifyStructure(cmd)
	if err != nil {
		return nil, err
	}
	const head = 19 // up to abData
	n := binary.LittleEndian.Uint32(how[head-4 : head])
	if how[2] != 0x82 || how[5] < 6 || int(n) != len(how)-head {
		return nil, errors.New("a reader would refuse this structure")
	}
	if least, most := int(how[6]), int(how[5]); len(l.c.keys) < least || len(l.c.keys) > most {
		return []byte{0x64, 0x03}, nil
	}
	filled := append([]byte(nil), how[head:]...)
	copy(filled[5:], l.c.keys)
	return l.c.card.Transmit(filled), nil
}

// A rogue is a gateway that asks for what it likes, over a connection that holds.
type rogue struct {
	*counter
	t    *testing.T
	conn *tls.Conn
	last uint32
	over chan error // how Serve ended
	stop func()     // of the signs of life
}

func newRogue(t *testing.T, keys string) *rogue {
	t.Helper()
	card, err := pivcard.New("123456")
	if err != nil {
		t.Fatal(err)
	}
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := world.Gateway(net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.TLS()}, NextProtos: []string{frame.Protocol}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := &rogue{counter: &counter{card: card, keys: keys}, t: t, over: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	station := &Station{Room: "consulting-2", Readers: r.counter, Asker: r.counter, Log: slog.New(slog.DiscardHandler)}
	go func() {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{frame.Protocol}})
		if err == nil {
			err = station.Serve(ctx, conn)
		}
		r.over <- err
	}()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.conn = raw.(*tls.Conn)
	if err := r.conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); r.conn.Close() })
	r.stop = r.alive()
	return r
}

// patience is how long the tests wait for what must come.
const patience = 30 * time.Second

// alive says for the gateway that it lives: a busy machine must not look like a
// gateway that fell silent. It does so until stop is called, or the end.
func (r *rogue) alive() (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-done:
				return
			case <-time.After(beat):
				if frame.Write(r.conn, frame.Request{}) != nil {
					return
				}
			}
		}
	}()
	return func() { close(done); <-over }
}

// asks sends a request and returns its answer, passing over signs of life.
func (r *rogue) asks(q frame.Request) frame.Answer {
	r.t.Helper()
	r.last++
	q.ID = r.last
	if err := frame.Write(r.conn, q); err != nil {
		r.t.Fatal(err)
	}
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		var a frame.Answer
		if err := frame.Read(r.conn, &a); err != nil {
			r.t.Fatal(err)
		}
		if a.ID == q.ID {
			return a
		}
	}
}

// opened waits for the reader to be seen, then holds the card.
func (r *rogue) opened() *rogue {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if a := r.asks(frame.Request{Do: frame.Open}); a.Error == nil {
			return r
		}
	}
	r.t.Fatal("the card was never held")
	return nil
}

// Nothing that a gateway gone bad can say makes the card show or spend a PIN try,
// or sign anything but a challenge of this connection and this reader.
func TestAttackRogueGateway(t *testing.T) {
	r := newRogue(t, "")
	r.opened()
	nonce := make([]byte, proof.NonceSize)
	select9 := []byte{0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8}
	if a := r.asks(frame.Request{Do: frame.Transmit, Command: select9}); a.Error != nil {
		t.Fatalf("SELECT: %v", a.Error)
	}
	_, _, before := r.counts()
	for what, q := range map[string]frame.Request{
		"VERIFY":               {Do: frame.Transmit, Command: []byte{0, 0x20, 0, 0x80, 8, '1', '1', '1', '1', '1', '1', 0xFF, 0xFF}},
		"GENERAL AUTHENTICATE": {Do: frame.Transmit, Command: append([]byte{0, 0x87, 0x11, 0x9E, 38, 0x7C, 36, 0x82, 0, 0x81, 32}, make([]byte, 32)...)},
		"PUT DATA":             {Do: frame.Transmit, Command: []byte{0, 0xDB, 0x3F, 0xFF, 0}},
		"no command":           {Do: frame.Transmit},
		"unheard of":           {Do: "format"},
		"a proof of nothing":   {Do: frame.Prove},
		"a short nonce":        {Do: frame.Prove, Proof: &frame.Proof{Use: byte(proof.Presence), Kind: byte(proof.P256), Purpose: "presence", Session: "s-1", Nonce: nonce[:1]}},
	} {
		if a := r.asks(q); a.Error == nil || a.Error.Kind != frame.Refused {
			t.Errorf("%s: got %+v, want it refused", what, a)
		}
	}
	asked, _, passed := r.counts()
	if passed != before || asked != 0 || r.card.Tries() != 3 {
		t.Errorf("%d commands reached the card, %d questions, %d tries left", passed-before, asked, r.card.Tries())
	}
}

// What one connection's card has signed is worth nothing on another: the channel in
// it is this side's own, and the gateway has no word in it.
func TestAttackProofOfAnotherConnection(t *testing.T) {
	r := newRogue(t, "").opened()
	nonce := make([]byte, proof.NonceSize)
	q := frame.Request{Do: frame.Prove, Proof: &frame.Proof{Use: byte(proof.Presence), Kind: byte(proof.P256), Purpose: "presence", Session: "s-1", Nonce: nonce}}
	a := r.asks(q)
	if a.Error != nil {
		t.Fatal(a.Error)
	}
	state := r.conn.ConnectionState()
	channel, err := state.ExportKeyingMaterial(frame.Label, nil, frame.ExporterSize)
	if err != nil {
		t.Fatal(err)
	}
	ch := proof.Challenge{Purpose: "presence", Reader: ReaderName("consulting-2", "Reader 0"), Session: "s-1", Channel: channel, Nonce: nonce}
	key := r.card.Public(0x9E)
	if err := proof.Check(key, ch.Message(), a.Data); err != nil {
		t.Fatalf("on its own connection: %v", err)
	}
	for what, change := range map[string]func(*proof.Challenge){
		"connection": func(c *proof.Challenge) { c.Channel = make([]byte, frame.ExporterSize) },
		"reader":     func(c *proof.Challenge) { c.Reader = ReaderName("consulting-3", "Reader 0") },
		"session":    func(c *proof.Challenge) { c.Session = "s-2" },
		"nonce":      func(c *proof.Challenge) { c.Nonce = append([]byte{1}, nonce[1:]...) },
	} {
		other := ch
		change(&other)
		if proof.Check(key, other.Message(), a.Data) == nil {
			t.Errorf("the signature counts for another %s", what)
		}
	}
}

// A gateway that does not keep to the protocol is hung up on, and the card let go.
func TestAttackFramesToRoom(t *testing.T) {
	for what, raw := range map[string][]byte{
		"too long":     binary.BigEndian.AppendUint32(nil, frame.Max+1),
		"of no length": make([]byte, 4),
		"not JSON":     {0, 0, 0, 3, 'a', 'b', 'c'},
		"two objects":  append([]byte{0, 0, 0, 4}, "{}{}"...),
		"unknown word": append([]byte{0, 0, 0, 9}, `{"pin":1}`...),
	} {
		t.Run(what, func(t *testing.T) {
			r := newRogue(t, "").opened()
			r.stop()
			if _, err := r.conn.Write(raw); err != nil {
				t.Fatal(err)
			}
			r.ends(t)
		})
	}
	t.Run("half", func(t *testing.T) {
		r := newRogue(t, "").opened()
		r.stop()
		_, _ = r.conn.Write([]byte{0, 0, 0, 9, '{'})
		r.ends(t) // it waits for the rest no longer than for a sign of life
	})
}

func (r *rogue) ends(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.over:
		if _, held, _ := r.counts(); err == nil || held != 0 {
			t.Errorf("ended with %v, %d cards held", err, held)
		}
	case <-time.After(patience):
		t.Error("the line is still up")
	}
}

// A reader with keys of its own: the PIN is typed there, nobody is asked at the
// computer, and the card takes it or says how many tries are left.
func TestPINPad(t *testing.T) {
	r := newRogue(t, "123456").opened()
	if a := r.asks(frame.Request{Do: frame.PIN, Question: "PIN"}); a.Error != nil {
		t.Fatalf("the right PIN: %+v", a.Error)
	}
	r.keys = "111111"
	if a := r.asks(frame.Request{Do: frame.PIN, Question: "PIN"}); a.Error == nil || a.Error.Kind != frame.WrongPIN || a.Error.Left != 2 {
		t.Errorf("a wrong PIN: %+v", a.Error)
	}
	r.keys = "12"
	if a := r.asks(frame.Request{Do: frame.PIN, Question: "PIN"}); a.Error == nil || a.Error.Kind != frame.BadPIN {
		t.Errorf("too short: %+v", a.Error)
	}
	if asked, _, _ := r.counts(); asked != 0 || r.card.Tries() != 2 {
		t.Errorf("%d questions at the computer, %d tries left; want none and 2", asked, r.card.Tries())
	}
}
