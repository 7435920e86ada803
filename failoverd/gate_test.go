package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"clinicgate/failoverd/config"
)

// A slow gate opens when the test says so, or never.
type slowGate chan error

func (s slowGate) Prepare(ctx context.Context, group string) error {
	select {
	case err := <-s:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deafGate does not even look at its deadline.
type deafGate struct{}

func (deafGate) Prepare(context.Context, string) error { select {} }

func TestEnter(t *testing.T) {
	broken := errors.New("peer out of reach")
	open := make(slowGate, 1)
	open <- broken
	for name, c := range map[string]struct {
		gate gate
		want error
	}{
		"open":  {open, broken},
		"never": {make(slowGate), context.DeadlineExceeded},
		"deaf":  {deafGate{}, context.DeadlineExceeded},
	} {
		opened := make(chan *passage)
		p := enter(c.gate, "lan", 20*time.Millisecond, opened)
		if got := <-opened; got != p || !errors.Is(got.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, got.err, c.want)
		}
	}
}

// A claim that was called back, or replaced by a later one, claims nothing.
func TestCalledBack(t *testing.T) {
	open := make(slowGate)
	g := &group{
		cfg: config.Group{Name: "lan"}, household: household{gate: open}, opened: make(chan *passage),
		log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if !g.enter() {
		t.Fatal("did not wait for the gate")
	}
	first := g.passage
	g.callBack()
	if p := <-g.opened; p != first || !errors.Is(p.err, context.Canceled) {
		t.Errorf("called back: %v", p.err)
	}
	g.enter()
	second := g.passage
	g.through(first)
	if g.passage != second {
		t.Error("a claim that was called back ended the later one")
	}
	g.callBack()
	g.gate = nil
	if g.enter() {
		t.Error("waits where there is no gate")
	}
}
