package pivcard

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A Slot is the place in a reader where a card goes. What plugs it into a real
// reader driver is a transport: VPCD or CCID. Safe for concurrent use.
type Slot struct {
	mu      sync.Mutex
	card    *Card
	changed chan struct{} // closed and replaced at each insertion and removal
	hung    chan struct{} // while not nil the card gives no answers
	waiting int           // commands that a hung card has not answered
}

// NewSlot returns an empty slot.
func NewSlot() *Slot { return &Slot{changed: make(chan struct{})} }

// Insert puts a card in and powers it up.
func (s *Slot) Insert(c *Card) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.card != nil {
		return errors.New("insert card: the slot has a card in it")
	}
	s.set(c)
	return nil
}

// Remove takes the card out and returns it, or nil when the slot is empty.
func (s *Slot) Remove() *Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.card
	if c != nil {
		s.set(nil)
	}
	return c
}

// Swap exchanges the card so fast that the reader sees nothing of it: the next
// command goes to another card. It returns the one that was in.
func (s *Slot) Swap(c *Card) *Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.card
	c.Reset()
	s.card = c
	return old
}

// Hang makes the card in the slot stop answering, or answer again.
func (s *Slot) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.hung == nil:
		s.hung = make(chan struct{})
	case !on && s.hung != nil:
		close(s.hung)
		s.hung = nil
	}
}

// Waiting is how many commands a hung card has not answered.
func (s *Slot) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

func (s *Slot) set(c *Card) {
	if c != nil {
		c.Reset()
	}
	s.card = c
	close(s.changed)
	s.changed = make(chan struct{})
}

// look returns the card and what closes at the next change.
func (s *Slot) look() (*Card, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.card, s.changed
}

// transmit hands a command to whichever card is in, waiting while it hangs. An
// empty slot answers nothing.
func (s *Slot) transmit(ctx context.Context, apdu []byte) []byte {
	s.mu.Lock()
	card, hung := s.card, s.hung
	if hung != nil {
		s.waiting++
	}
	s.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}
	if card == nil {
		return nil
	}
	return card.Transmit(apdu)
}

// A Dialer reaches the reader driver.
type Dialer func(ctx context.Context) (net.Conn, error)

// redial is how long a transport waits before it tries the driver again.
const redial = 50 * time.Millisecond

// dialUntil dials until it works, ctx ends or the slot changes.
func dialUntil(ctx context.Context, dial Dialer, changed <-chan struct{}) net.Conn {
	for {
		conn, err := dial(ctx)
		if err == nil {
			return conn
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			return nil
		case <-time.After(redial):
		}
	}
}
