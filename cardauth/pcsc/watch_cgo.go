//go:build cgo || windows

package pcsc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ebfe/scard"
)

// pnp is the pseudo reader that changes when readers come and go.
const pnp = `\\?PnP?\Notification`

// Watch calls changed with all readers, once at the start and again after each
// change, until ctx ends (nil) or pcscd goes away. It can be up to a second late
// to return. There must be one watcher in a process: scard keeps one name per
// reader alive for C.
func Watch(ctx context.Context, changed func([]State)) error {
	c, err := scard.EstablishContext()
	if err != nil {
		return explain("watch readers", err)
	}
	defer c.Release()
	w := watcher{ctx: c, last: map[string]scard.StateFlag{}}
	var told []State
	for first := true; ctx.Err() == nil; first = false {
		now, err := w.look(first)
		if err != nil {
			return explain("watch readers", err)
		}
		if first || !slices.Equal(now, told) {
			told = now
			changed(slices.Clone(now))
		}
	}
	return nil
}

// A watcher remembers what each reader was like, as pcscd wants to be told.
type watcher struct {
	ctx  *scard.Context
	last map[string]scard.StateFlag
}

// look waits for a change, but no longer than a glance and at first not at all,
// and returns all readers.
func (w *watcher) look(first bool) ([]State, error) {
	names, err := w.ctx.ListReaders()
	if err != nil && !errors.Is(err, scard.ErrNoReadersAvailable) {
		return nil, err
	}
	asked := make([]scard.ReaderState, 0, len(names)+1)
	fresh := first
	for _, n := range names {
		flags, known := w.last[n]
		fresh = fresh || !known // then pcscd answers at once
		asked = append(asked, scard.ReaderState{Reader: n, CurrentState: flags})
	}
	asked = append(asked, scard.ReaderState{Reader: pnp, CurrentState: scard.StateFlag(len(names)) << 16})
	wait := glance
	if fresh {
		wait = 0
	}
	start := time.Now()
	err = w.ctx.GetStatusChange(asked, wait)
	switch {
	case errors.Is(err, scard.ErrTimeout):
	case errors.Is(err, scard.ErrUnknownReader): // unplugged since it was listed
		clear(w.last)
	case err != nil:
		return nil, err
	}
	// A reader that changes all the time must not take the processor with it.
	if time.Since(start) < 5*time.Millisecond && !first {
		time.Sleep(5 * time.Millisecond)
	}
	return w.remember(asked[:len(names)]), nil
}

// remember keeps the flags for the next look and turns them into states.
func (w *watcher) remember(asked []scard.ReaderState) []State {
	seen := map[string]scard.StateFlag{}
	var all []State
	for _, r := range asked {
		flags := r.EventState
		if flags == 0 {
			flags = r.CurrentState
		}
		if flags&(scard.StateUnknown|scard.StateIgnore) != 0 {
			continue // on its way out
		}
		seen[r.Reader] = flags &^ scard.StateChanged
		all = append(all, State{
			Reader: r.Reader,
			Card:   flags&scard.StatePresent != 0,
			Mute:   flags&scard.StateMute != 0,
			Events: uint16(flags >> 16),
		})
	}
	w.last = seen
	return all
}
