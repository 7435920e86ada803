package deliver

import (
	"context"
	"errors"
	"sync"

	"clinicgate/syncd/queue"
)

// errTurn ends attempts of a box whose turn is over.
var errTurn = errors.New("the other box delivers now")

// Other is another box that may have sent an item, and be heard no more: what it
// sent may be on its way yet, and not be found by asking.
type Other interface {
	// Begin is called before an attempt. An error says that the item must wait; else
	// the other box knows of the attempt, if it is there.
	Begin(ctx context.Context, id queue.ID) error
}

// Mind has the other box asked before each attempt. It is called before Run.
func (e *Engine) Mind(o Other) { e.other = o }

// A shift says whether this box delivers. The zero shift is everybody's own: a box
// that stands alone always does.
type shift struct {
	mu      sync.Mutex
	off     bool
	end     context.CancelCauseFunc // of the attempts under way
	ctx     context.Context
	changed chan struct{}
	flight  int
}

// Serve makes it this box's turn to deliver, or ends that: attempts under way are
// broken off, and what they left at a destination is found by asking. It returns at
// once; Flight says when they are over.
func (e *Engine) Serve(on bool) {
	t := &e.shift
	t.mu.Lock()
	if t.off == !on {
		t.mu.Unlock()
		return
	}
	t.off = !on
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	if t.off && t.end != nil {
		t.end(errTurn)
		t.ctx, t.end = nil, nil
	}
	t.mu.Unlock()
	if on {
		e.Nudge()
	}
}

// Flight is how many attempts are under way.
func (e *Engine) Flight() int {
	e.shift.mu.Lock()
	defer e.shift.mu.Unlock()
	return e.shift.flight
}

// await returns when it is this box's turn, with a context that ends with the turn;
// nil: ctx has ended.
func (t *shift) await(ctx context.Context) context.Context {
	for ctx.Err() == nil {
		t.mu.Lock()
		if !t.off {
			if t.ctx == nil || t.ctx.Err() != nil {
				t.ctx, t.end = context.WithCancelCause(ctx)
			}
			mine := t.ctx
			t.mu.Unlock()
			return mine
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// take counts an attempt, unless the turn is over.
func (t *shift) take(mine context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.Err() != nil {
		return false
	}
	t.flight++
	return true
}

func (t *shift) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flight--
}

// broken is why an attempt ended with its context: the item waits either way.
func broken(ctx context.Context) *Failure {
	if errors.Is(context.Cause(ctx), errTurn) {
		return &Failure{Kind: Pending, Reason: errTurn.Error()}
	}
	return &Failure{Kind: Unreachable, Reason: "stopping"}
}
