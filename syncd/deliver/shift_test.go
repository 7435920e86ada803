package deliver

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

// hanging is a destination that doesn't answer the first time.
type hanging chan struct{}

func (h hanging) Send(ctx context.Context, _ queue.Item, tried bool, _ Body) (string, error) {
	h <- struct{}{}
	if !tried {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "found there", nil
}

// A box whose turn is over breaks off what it is doing and begins nothing; when its
// turn comes again it goes on.
func TestTurn(t *testing.T) {
	w := newWorld(t)
	begun := make(hanging, 100)
	w.e = New(w.q, []Destination{{Name: "hospital", Kind: "stow", Accepts: []string{"dicom"}, Sender: begun}}, quick, slog.New(slog.DiscardHandler))
	w.e.Serve(false)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- w.e.Run(ctx) }()
	w.accept("k", lane.Routine, "", 100)
	w.e.Serve(true)
	wait(t, begun)
	if n := w.e.Flight(); n != 1 {
		t.Errorf("%d attempts are under way, want 1", n)
	}
	w.e.Serve(false)
	w.eventually("nothing under way", func() bool { return w.e.Flight() == 0 })
	w.count(queue.Waiting, 1)
	if d := w.e.Destinations()[0]; d.State == stateUnreachable {
		t.Errorf("the end of a turn is the destination's fault: %+v", d)
	}
	if len(begun) > 0 {
		t.Error("an attempt was begun out of turn")
	}
	w.e.Serve(true)
	wait(t, begun)
	w.count(queue.Delivered, 1)
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("it never came")
	}
}
