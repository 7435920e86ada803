// Package link tells when the carrier of a port comes, goes, or the port itself
// does, and reads the ports' counters.
package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is what is known of one device.
type State struct {
	Index   int // 0: there is no such device
	Up      bool
	Carrier bool
	Rx, Tx  uint64 // bytes since the device was made
}

// Why says in words why the device can't carry packets, or nothing.
func (s State) Why() string {
	switch {
	case s.Index == 0:
		return "no such port"
	case !s.Up:
		return "port is switched off"
	case !s.Carrier:
		return "no carrier"
	}
	return ""
}

// Read looks at the named devices.
func Read(devs []string) (map[string]State, error) {
	all := map[string]State{}
	for _, dev := range devs {
		l, err := netlink.LinkByName(dev)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			all[dev] = State{}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at port %s: %w", dev, err)
		}
		all[dev] = state(l.Attrs())
	}
	return all, nil
}

func state(a *netlink.LinkAttrs) State {
	s := State{
		Index:   a.Index,
		Up:      a.RawFlags&unix.IFF_UP != 0,
		Carrier: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	if a.Statistics != nil {
		s.Rx, s.Tx = a.Statistics.RxBytes, a.Statistics.TxBytes
	}
	return s
}

// settle is how long a burst of changes is gathered before they are told.
const settle = 5 * time.Millisecond

// Watch calls changed after something about any device may have changed, until
// ctx ends. It tells too often rather than too seldom; Read says what is true. A
// subscription that the kernel overran is made anew.
func Watch(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		if err := subscribe(ctx, changed); err != nil {
			return err
		}
	}
	return nil
}

func subscribe(ctx context.Context, changed func()) error {
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	options := netlink.LinkSubscribeOptions{ReceiveBufferSize: 1 << 20}
	if err := netlink.LinkSubscribeWithOptions(updates, done, options); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	changed() // what happened before the subscription
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-updates:
			if !open {
				return nil
			}
		}
		drain(updates, time.After(settle))
		changed()
	}
}

// drain gathers updates until the time is over or the channel closes; the caller
// sees the close at its next receive.
func drain(updates <-chan netlink.LinkUpdate, over <-chan time.Time) {
	for {
		select {
		case <-over:
			return
		case _, open := <-updates:
			if !open {
				return
			}
		}
	}
}
