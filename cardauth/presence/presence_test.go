package presence

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

const rightPIN = "123456"

// A bench is PC/SC played in memory: readers with cards in them, that can be
// slow, silent or broken, and a pcscd that can go away. With testing/synctest its
// hours take no time.
type bench struct {
	t      *testing.T
	clinic *Clinic
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	cards   map[string]*pivcard.Card // reader → card
	states  []pcsc.State
	changed chan struct{}
	dead    bool
	slow    time.Duration // each command takes so long
	hang    chan struct{} // commands wait for it to close
	tape    *replay       // stands between, if set
	refuse  error         // Connect says this
	history [][]session.Session
}

var errGone = errors.New("gone")

// Watch follows the states.
func (b *bench) Watch(ctx context.Context, f func([]pcsc.State)) error {
	for {
		b.mu.Lock()
		states, changed, dead := slices.Clone(b.states), b.changed, b.dead
		b.mu.Unlock()
		if dead {
			return errGone
		}
		f(states)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Connect holds the card in a reader.
func (b *bench) Connect(reader string) (Link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.cards[reader]
	switch {
	case b.refuse != nil:
		return nil, b.refuse
	case c == nil:
		return nil, pcsc.ErrNoCard
	}
	c.Reset()
	return &held{b, reader, c}, nil
}

// held is a card somebody holds.
type held struct {
	b      *bench
	reader string
	card   *pivcard.Card
}

// Transmit reaches the card that was held, if it is still in.
func (w *held) Transmit(cmd []byte) ([]byte, error) {
	w.b.mu.Lock()
	slow, hang := w.b.slow, w.b.hang
	w.b.mu.Unlock()
	time.Sleep(slow)
	if hang != nil {
		<-hang
	}
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.b.cards[w.reader] != w.card {
		return nil, errGone
	}
	if w.b.tape != nil {
		return w.b.tape.pass(cmd, w.card), nil
	}
	return w.card.Transmit(cmd), nil
}

// Close resets the card.
func (w *held) Close() { w.card.Reset() }

// put changes what is in a reader and lets pcscd notice.
func (b *bench) put(reader string, c *pivcard.Card, mute bool) {
	b.mu.Lock()
	b.cards[reader] = c
	for i := range b.states {
		if b.states[i].Reader == reader {
			b.states[i].Card, b.states[i].Mute = c != nil || mute, mute
			b.states[i].Events++
		}
	}
	b.notice()
	b.mu.Unlock()
	synctest.Wait()
}

// notice wakes Watch; b.mu is held.
func (b *bench) notice() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *bench) set(f func()) {
	b.mu.Lock()
	f()
	b.notice()
	b.mu.Unlock()
	synctest.Wait()
}

// start runs a clinic; change may alter its setup first.
func start(t *testing.T, change ...func(*bench)) *bench {
	t.Helper()
	b := &bench{t: t, cards: map[string]*pivcard.Card{}, changed: make(chan struct{}), done: make(chan struct{})}
	b.states = []pcsc.State{{Reader: "reader A 00"}, {Reader: "reader B 00"}, {Reader: "someone else's"}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b.clinic = New(Setup{
		Bus: b, Readers: []config.Reader{{Match: "reader A", Room: "a"}, {Match: "reader B", Room: "b"}},
		Holder: func(c *x509.Certificate, _ time.Time) (trust.Holder, error) {
			return trust.Holder{Role: "doctor", Registration: c.Subject.SerialNumber, Key: sha256.Sum256(c.RawSubjectPublicKeyInfo)}, nil
		},
		Present: func(c *x509.Certificate, _ time.Time) (trust.Holder, error) {
			return trust.Holder{Role: "doctor", Registration: c.Subject.SerialNumber}, nil
		},
		Publish: func(s State) { b.history = append(b.history, s.Sessions) },
		Faults:  daemon.NewFaults(log), Log: log,
	})
	for _, f := range change {
		f(b)
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() {
		defer close(b.done)
		_ = daemon.Run(ctx, daemon.Task{Name: "readers", Run: b.clinic.Run}, daemon.Task{Name: "deadlines", Run: b.clinic.Deadlines})
	}()
	synctest.Wait()
	return b
}

// end stops everything; the last publication must list no session.
func (b *bench) end() {
	b.t.Helper()
	b.stop()
	<-b.done
	if last := b.history[len(b.history)-1]; len(last) != 0 {
		b.t.Errorf("published at the end: %+v", last)
	}
}

func (b *bench) card(registration string) *pivcard.Card {
	b.t.Helper()
	c, err := pivcard.New(rightPIN)
	if err != nil {
		b.t.Fatal(err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	der, err := w.Professionals.CardCertificate(pki.Person{Name: "X", Registration: registration, Profession: pki.Doctor}, 0x9A, c.Public(0x9A))
	if err == nil {
		err = c.PutCertificate(0x9A, der)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) login(room, digits string) (session.Session, *session.Refusal) {
	b.t.Helper()
	typed := []byte(digits)
	s, err := b.clinic.Login(b.t.Context(), session.Login{Room: room, PIN: typed, CertHash: "ws"})
	if !slices.Equal(typed, make([]byte, len(typed))) {
		b.t.Errorf("PIN left in memory after %v", err)
	}
	var refusal *session.Refusal
	if err != nil && !errors.As(err, &refusal) {
		b.t.Fatalf("login: %v", err)
	}
	return s, refusal
}

func (b *bench) mustLogin(room string) session.Session {
	b.t.Helper()
	s, refusal := b.login(room, rightPIN)
	if refusal != nil {
		b.t.Fatalf("login: %v", refusal)
	}
	return s
}

func (b *bench) lives(s session.Session) bool {
	_, ok := b.clinic.Live(s.ID)
	return ok
}

func (b *bench) faults() (ids []string) {
	for _, f := range b.clinic.Faults.List() {
		ids = append(ids, f.ID)
	}
	return ids
}

// bubble runs f in a synctest bubble with a bench.
func bubble(t *testing.T, f func(*testing.T, *bench), change ...func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, change...)
		f(t, b)
		b.end()
	})
}

func TestSessionLivesAsLongAsItsCard(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader A 00", b.card("1"), false)
		s := b.mustLogin("a")
		time.Sleep(time.Hour)
		if !b.lives(s) {
			t.Fatal("a card that was there all the time lost its session")
		}
		b.put("reader A 00", nil, false)
		if b.lives(s) {
			t.Fatal("the session outlived the card")
		}
	})
}

// The proofs find what pcscd doesn't see, within a beat.
func TestProofsFindASwap(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first, second := b.card("1"), b.card("2")
		b.put("reader A 00", first, false)
		s := b.mustLogin("a")
		b.mu.Lock()
		b.cards["reader A 00"] = second // no event
		b.mu.Unlock()
		time.Sleep(minBeat + time.Millisecond)
		if b.lives(s) {
			t.Fatal("the session lives with another card in the reader")
		}
		b.mustLogin("a")
	})
}

// A silent card's session is over within half a second of its last proof, while
// its reader's goroutine still waits for it; and the end doesn't wait for it.
func TestSilentCard(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader A 00", b.card("1"), false)
		b.put("reader B 00", b.card("2"), false)
		other := b.mustLogin("b")
		s := b.mustLogin("a")
		b.set(func() { b.hang = make(chan struct{}) })
		time.Sleep(500 * time.Millisecond)
		if b.lives(s) {
			t.Fatal("the session outlived its proof")
		}
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.Busy {
			t.Fatalf("login at a reader that hangs: %v, want busy", refusal)
		}
		if b.lives(other) { // it hangs too
			t.Fatal("the other session outlived its proof")
		}
		close(b.hang)
		b.set(func() { b.hang = nil })
		time.Sleep(retry)
		b.mustLogin("a")
	})
}

// A slow card proves itself less often and keeps its session.
func TestSlowCard(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.set(func() { b.slow = 150 * time.Millisecond })
		b.put("reader A 00", b.card("1"), false)
		s := b.mustLogin("a")
		time.Sleep(time.Minute)
		if !b.lives(s) {
			t.Fatal("a slow card lost its session")
		}
	})
}

func TestOneCardOneSession(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.card("1")
		b.put("reader A 00", c, false)
		a := b.mustLogin("a")
		b.put("reader B 00", c, false) // as only a copy of the key could
		other := b.mustLogin("b")
		if b.lives(a) || !b.lives(other) {
			t.Fatal("one key has two sessions")
		}
	})
}

func TestServiceGone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader A 00", b.card("1"), false)
		s := b.mustLogin("a")
		b.set(func() { b.dead = true })
		if b.lives(s) {
			t.Fatal("the session outlived pcscd")
		}
		if got := b.faults(); !slices.Contains(got, faultNoService) {
			t.Fatalf("faults %v", got)
		}
		b.set(func() { b.dead = false })
		time.Sleep(again)
		synctest.Wait()
		if got := b.faults(); len(got) != 0 {
			t.Fatalf("faults after its return: %v", got)
		}
		b.mustLogin("a")
	})
}

func TestReaderUnplugged(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader B 00", b.card("1"), false)
		s := b.mustLogin("b")
		all := b.states
		b.set(func() { b.states = all[:1] })
		if b.lives(s) {
			t.Fatal("the session outlived its reader")
		}
		if got := b.faults(); !slices.Equal(got, []string{faultNoReader}) {
			t.Fatalf("faults %v", got)
		}
		if _, refusal := b.login("b", rightPIN); refusal == nil || refusal.Kind != session.NoReader {
			t.Fatalf("login: %v, want no-reader", refusal)
		}
		b.set(func() { b.states = all })
		if got := b.faults(); len(got) != 0 {
			t.Fatalf("faults after replugging: %v", got)
		}
		b.mustLogin("b")
	})
}

func TestUnreadableCards(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader A 00", nil, true)
		if got := b.faults(); !slices.Equal(got, []string{faultCard}) {
			t.Fatalf("a mute card: faults %v", got)
		}
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.Failed {
			t.Fatalf("login with a mute card: %v", refusal)
		}
		b.put("reader A 00", nil, false)
		if got := b.faults(); len(got) != 0 {
			t.Fatalf("card out: faults %v", got)
		}
		b.set(func() { b.refuse = pcsc.ErrInUse })
		b.put("reader A 00", b.card("1"), false)
		time.Sleep(retry + time.Millisecond)
		synctest.Wait()
		if got := b.faults(); !slices.Equal(got, []string{faultCard}) {
			t.Fatalf("a card another program holds: faults %v", got)
		}
		b.set(func() { b.refuse = nil })
		time.Sleep(retry + time.Millisecond)
		b.mustLogin("a")
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.card("1")
		want := func(digits string, kind session.Kind) *session.Refusal {
			t.Helper()
			_, refusal := b.login("a", digits)
			if refusal == nil || refusal.Kind != kind {
				t.Fatalf("got %v, want %s", refusal, kind)
			}
			return refusal
		}
		want("12", session.BadPIN)
		want(rightPIN, session.NoCard)
		b.put("reader A 00", c, false)
		want("111111", session.WrongPIN)
		if r := want(rightPIN, session.SlowDown); r.Wait != time.Second {
			t.Errorf("wait %v, want 1s", r.Wait)
		}
		time.Sleep(time.Second)
		s := b.mustLogin("a")
		if !b.clinic.Logout(s.ID) || b.lives(s) || b.clinic.Logout(s.ID) {
			t.Error("logout did not end the session once")
		}
		if _, _, ok := b.clinic.Room("cellar"); ok {
			t.Error("there is a reader in the cellar")
		}
	})
}

// A card changed while nobody was logged in, too fast for pcscd to see: the one
// that is in now logs in at the first try, unless a PIN was shown before.
func TestSwapBeforeLogin(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		second := b.card("2")
		b.put("reader A 00", b.card("1"), false)
		b.mu.Lock()
		b.cards["reader A 00"] = second
		b.mu.Unlock()
		if s := b.mustLogin("a"); s.Subject != "Practitioner/2" {
			t.Fatalf("logged in %s", s.Subject)
		}
	})
}

// A card pulled out in the middle of a login.
func TestCardOutDuringLogin(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.set(func() { b.slow = 100 * time.Millisecond })
		c := b.card("1")
		b.put("reader A 00", c, false)
		go func() {
			time.Sleep(350 * time.Millisecond)
			b.mu.Lock()
			b.cards["reader A 00"] = nil
			b.mu.Unlock()
		}()
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.Failed {
			t.Fatalf("got %v, want card-failed", refusal)
		}
	})
}
