package flowsync

import (
	"errors"
	"fmt"
	"net/netip"

	"clinicgate/failoverd/flowsync/flow"
)

// notes is how many may wait, each way.
const notes = 16

// ErrApart means that there is no session in which the other box could be told.
var ErrApart = errors.New("the other box is out of reach")

// Say sends a note to the other box, after all that it was told before. nil means
// that it is on its way, not that it has arrived. Safe for concurrent use.
func (s *Sync) Say(text string) error {
	if len(text) > flow.NoteLen {
		return fmt.Errorf("note: got %d bytes, want at most %d", len(text), flow.NoteLen)
	}
	s.mu.Lock()
	up := s.out.up
	s.mu.Unlock()
	if !up {
		return ErrApart
	}
	select {
	case s.say <- text:
		return nil
	default:
		return fmt.Errorf("note: %w: it takes nothing", ErrApart)
	}
}

// Peer is the other box's address on the cable.
func (s *Sync) Peer() netip.Addr { return s.cfg.Peer.Addr() }

// Noted are the other box's notes, in its order. When nobody reads, the newest are
// dropped: they are never a reason to keep flows waiting.
func (s *Sync) Noted() <-chan string { return s.noted }

// note says what Say was given.
func (t *teller) note(text string) {
	t.say(flow.Message{Kind: flow.Note, Text: text})
	if t.err == nil {
		t.err = t.w.Flush()
	}
}

// forget drops notes that were meant for a session that is over: the other box may
// be another by now, and what was asked is no longer wanted.
func (s *Sync) forget() {
	for {
		select {
		case <-s.say:
		default:
			return
		}
	}
}
