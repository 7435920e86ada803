//go:build cgo

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/cardauth/piv"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
)

// states follows Watch and lets a test wait for what it wants to see.
type states struct {
	t  *testing.T
	in chan []State
}

func follow(t *testing.T) (states, <-chan error) {
	s := states{t, make(chan []State, 100)}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- Watch(ctx, func(now []State) { s.in <- now })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s, ended
}

func (s states) until(what string, ok func(State) bool) State {
	s.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case now := <-s.in:
			for _, r := range now {
				if r.Reader == pcscd.ReaderName && ok(r) {
					return r
				}
			}
		case <-late:
			s.t.Fatalf("never seen: %s", what)
		}
	}
}

// pointAt has libpcsclite use d. It reads the name of its socket once per process,
// so the name is the process's own and a link behind it leads to the daemon.
func pointAt(t *testing.T, d *pcscd.Daemon) {
	t.Helper()
	name := filepath.Join(os.TempDir(), fmt.Sprintf("pcscd-of-%d.comm", os.Getpid()))
	_ = os.Remove(name) // of an earlier test
	if err := os.Symlink(d.Socket(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(name) })
	t.Setenv("PCSCLITE_CSOCK_NAME", name)
}

// The life of a reader: card in, used by us alone, swapped, out, pcscd killed.
func TestReaderLife(t *testing.T) {
	d := pcscd.Start(t)
	pointAt(t, d)
	slot := pivcard.NewSlot()
	d.Plug(t, slot, 0)
	seen, ended := follow(t)
	empty := seen.until("an empty reader", func(s State) bool { return !s.Card })
	if _, err := Connect(pcscd.ReaderName); !errors.Is(err, ErrNoCard) {
		t.Errorf("connect to an empty reader: %v, want ErrNoCard", err)
	}

	first, second := newCard(t), newCard(t)
	if err := slot.Insert(first); err != nil {
		t.Fatal(err)
	}
	in := seen.until("a card", func(s State) bool { return s.Card && !s.Mute })
	if in.Events == empty.Events {
		t.Errorf("insertion left the count at %d", in.Events)
	}
	exclusive(t)
	pinIsForgotten(t, first)
	swapped(t, slot, second)
	slot.Remove()
	out := seen.until("the card out", func(s State) bool { return !s.Card })
	if out.Events == in.Events {
		t.Errorf("removal left the count at %d", out.Events)
	}

	d.Kill()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrService) {
			t.Errorf("watcher after pcscd was killed: %v, want ErrService", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the watcher did not notice that pcscd was killed")
	}
	if _, err := Connect(pcscd.ReaderName); !errors.Is(err, ErrService) {
		t.Errorf("connect without pcscd: %v, want ErrService", err)
	}
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := slot.Insert(first); err != nil {
		t.Fatal(err)
	}
	again, _ := follow(t)
	again.until("the card after pcscd's restart", func(s State) bool { return s.Card })
	connect(t).Close()
}

func newCard(t *testing.T) *pivcard.Card {
	t.Helper()
	c, err := pivcard.New("123456")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func connect(t *testing.T) *Card {
	t.Helper()
	c, err := Connect(pcscd.ReaderName)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exclusive(t *testing.T) {
	t.Helper()
	c := connect(t)
	defer c.Close()
	if other, err := Connect(pcscd.ReaderName); !errors.Is(err, ErrInUse) {
		t.Errorf("a second holder: %v, %v, want ErrInUse", other, err)
	}
	if _, err := c.Transmit(nil); err == nil {
		t.Error("an empty command was sent")
	}
}

// After Close a PIN must be shown again.
func pinIsForgotten(t *testing.T, raw *pivcard.Card) {
	t.Helper()
	c := connect(t)
	sign := func() error {
		p, err := piv.Select(c)
		if err != nil {
			return err
		}
		_, err = p.Sign(proof.Authentication, proof.P256, []byte("nonce"))
		return err
	}
	p, err := piv.Select(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify([]byte("123456")); err != nil {
		t.Fatal(err)
	}
	if err := sign(); err != nil {
		t.Fatalf("sign after the PIN: %v", err)
	}
	c.Close()
	c = connect(t)
	defer c.Close()
	if err := sign(); err == nil {
		t.Error("the PIN outlived its holder")
	}
}

// A card swapped within pcscd's poll: the handle that held the first card must
// break, or talk to a card that can't prove the first one's key.
func swapped(t *testing.T, slot *pivcard.Slot, second *pivcard.Card) {
	t.Helper()
	c := connect(t)
	defer c.Close()
	p, err := piv.Select(c)
	if err != nil {
		t.Fatal(err)
	}
	old := slot.Remove()
	if err := slot.Insert(second); err != nil {
		t.Fatal(err)
	}
	sig, err := p.Sign(proof.Presence, proof.P256, []byte("nonce"))
	if err == nil && proof.Check(old.Public(0x9E), []byte("nonce"), sig) == nil {
		t.Error("the second card proved the first one's key")
	}
}
