package presence

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/lab/pivcard"
)

// A recorder in the reader answers with signatures it has seen before: every
// challenge is new, so none fits, and its session is over.
func TestAttackReplay(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		tape := &replay{}
		b.set(func() { b.tape = tape })
		b.put("reader A 00", b.card("1"), false)
		s := b.mustLogin("a")
		time.Sleep(minBeat + time.Millisecond)
		if !b.lives(s) || len(tape.seen) < 2 {
			t.Fatalf("the session did not live on %d proofs", len(tape.seen))
		}
		if bytes.Equal(tape.asked[0], tape.asked[1]) {
			t.Fatal("one challenge was given twice")
		}
		tape.play = true
		time.Sleep(minBeat + time.Millisecond)
		if b.lives(s) {
			t.Fatal("the session lives on an old signature")
		}
	})
}

// replay is what stands between reader and card.
type replay struct {
	asked, seen [][]byte
	play        bool
}

func (r *replay) pass(cmd []byte, card *pivcard.Card) []byte {
	if len(cmd) < 2 || cmd[1] != 0x87 {
		return card.Transmit(cmd)
	}
	if r.play {
		return r.seen[len(r.seen)-1]
	}
	r.asked = append(r.asked, slices.Clone(cmd))
	resp := card.Transmit(cmd)
	r.seen = append(r.seen, resp)
	return resp
}

// A PIN shown to a program that died before us opens nothing: the card is reset
// before it is used.
func TestAttackVerifiedStateLeft(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.card("1")
		c.Transmit([]byte{0, 0xA4, 4, 0, 11, 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0})
		if got := c.Transmit(append([]byte{0, 0x20, 0, 0x80, 8}, "123456\xff\xff"...)); got[0] != 0x90 {
			t.Fatalf("show PIN: %X", got)
		}
		b.put("reader A 00", c, false)
		c.Transmit([]byte{0, 0xA4, 4, 0, 11, 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0})
		if got := c.Transmit([]byte{0, 0x20, 0, 0x80}); got[0] != 0x63 {
			t.Errorf("the card remembers the PIN: %X", got)
		}
		if _, refusal := b.login("a", "111111"); refusal == nil || refusal.Kind != session.WrongPIN {
			t.Errorf("got %v, want wrong-pin", refusal)
		}
	})
}

// A reader that nobody configured is ignored, whatever card is in it.
func TestAttackForeignReader(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("someone else's", b.card("1"), false)
		b.set(func() { b.states = append(b.states, pcsc.State{Reader: "Virtual PCD 00 00", Card: true}) })
		time.Sleep(time.Minute)
		if got := b.clinic.machine.Readers(); len(got) != 2 {
			t.Errorf("readers %+v", got)
		}
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.NoCard {
			t.Errorf("got %v, want no-card", refusal)
		}
	})
}

// A blocked card is shown as blocked, and no PIN is tried.
func TestAttackBlockedCard(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.card("1")
		for range 3 {
			c.Transmit([]byte{0, 0xA4, 4, 0, 11, 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0})
			c.Transmit(append([]byte{0, 0x20, 0, 0x80, 8}, "999999\xff\xff"...))
		}
		b.put("reader A 00", c, false)
		for range 10 {
			if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.Blocked {
				t.Fatalf("got %v, want blocked", refusal)
			}
		}
	})
}

// notes are the keys known in a test.
type notes map[[32]byte]string

// Check knows whose keys are.
func (n notes) Check(h trust.Holder) error {
	if who, ok := n[h.Key]; ok && who != h.Registration {
		return errors.New("somebody else's")
	}
	return nil
}

// Remember notes one.
func (n notes) Remember(h trust.Holder) { n[h.Key] = h.Registration }

// A second card with the first one's key is refused before its PIN is asked, and
// somebody is told; the first one's renewed certificate is not. A key that was not
// proven is nobody's yet.
func TestAttackSameKey(t *testing.T) {
	known := notes{}
	bubble(t, func(t *testing.T, b *bench) {
		first := b.card("1")
		copied, err := pivcard.New(rightPIN, pivcard.WithKeyOf(0x9A, first))
		if err != nil {
			t.Fatal(err)
		}
		b.certify(copied, 0x9A, "2")
		b.put("reader A 00", copied, false)
		if _, refusal := b.login("a", "000000"); refusal == nil || refusal.Kind != session.WrongPIN {
			t.Fatalf("the key's first card: %v", refusal)
		}
		b.put("reader A 00", nil, false)
		time.Sleep(time.Minute)
		b.put("reader A 00", first, false)
		b.mustLogin("a")
		b.put("reader A 00", nil, false)
		before := copied.Tries()
		b.put("reader A 00", copied, false)
		for _, pin := range []string{"000000", rightPIN} {
			if _, refusal := b.login("a", pin); refusal == nil || refusal.Kind != session.Untrusted {
				t.Errorf("a second card of one key: %v", refusal)
			}
		}
		if got := b.faults(); copied.Tries() != before || !slices.Equal(got, []string{faultSameKey}) {
			t.Errorf("%d tries left, want %d; faults %v", copied.Tries(), before, got)
		}
		b.put("reader A 00", nil, false)
		if got := b.faults(); len(got) != 0 {
			t.Errorf("faults %v after the card left", got)
		}
		b.certify(first, 0x9A, "1")
		b.put("reader A 00", first, false)
		b.mustLogin("a")
	}, func(b *bench) { b.clinic.Keys = known })
}
