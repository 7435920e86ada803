package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/netd/firewall"
	"clinicgate/netd/report"
)

// A wall is what the firewall has to know beside the site file: the clinic's
// prefixes by provider, and where the pair's addresses are here. It is safe for
// concurrent use.
type wall struct {
	mu       sync.Mutex
	prefixes []netip.Prefix
	here     []bool        // by uplink
	changed  chan struct{} // holds one when this is not what the last look saw
}

// newWall returns one that knows what a netd before this one knew.
func newWall(ups []*uplinkHands) *wall {
	w := &wall{changed: make(chan struct{}, 1)}
	for _, u := range ups {
		w.prefixes = append(w.prefixes, u.six.before)
	}
	return w
}

// want says what the prefixes are.
func (w *wall) want(prefixes []netip.Prefix) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Equal(prefixes, w.prefixes) {
		return
	}
	w.prefixes = slices.Clone(prefixes)
	w.call()
}

// call has the firewall made anew.
func (w *wall) call() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *wall) look() (prefixes []netip.Prefix, here []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.prefixes, w.here
}

// walledBefore reports whether a netd before this one left its firewall in force:
// the run directory goes with the kernel's rules, at the next boot.
func walledBefore(run string) bool {
	n, err := wirefile.Read[wire.Net](run, wire.NetFile)
	return err == nil && !slices.ContainsFunc(n.Faults, func(f wire.Fault) bool { return f.ID == report.NoFirewall })
}

// keepFirewall is the task that puts the firewall in force, and anew when a
// provider gives the clinic another prefix or an address of the pair moves. It tries
// again while that fails, ever more seldom; a box without rules is shut meanwhile.
func (b *box) keepFirewall(ctx context.Context) error {
	const soon, seldom = time.Second, 30 * time.Second
	again := soon
	for {
		prefixes, here := b.wall.look()
		err := firewall.Install(ctx, behind(b.cfg, here), prefixes)
		var open error
		if err != nil {
			open = firewall.Shut(ctx, b.cfg)
		}
		b.tell(ctx, func(time.Time) {
			b.tried, b.safe, b.shut, b.unsafe, b.news = true, b.safe || err == nil, open == nil, "", true
			if err != nil {
				b.unsafe = errors.Join(err, open).Error()
			} else {
				b.walled = prefixes
			}
		})
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(again)
			again = min(2*again, seldom)
		} else {
			again = soon
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wall.changed:
		case <-retry:
		}
	}
}
