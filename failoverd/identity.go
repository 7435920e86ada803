package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/accord"
	"clinicgate/failoverd/flowsync"
	"clinicgate/failoverd/pairclock"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// floorFile, in the state folder, is the latest time with which the tunnel's hub was
// called, in Unix nanoseconds.
const floorFile = "tunnel-floor"

// faultClock is a clock that is too far behind the other box's.
const faultClock = "pair.clock"

const (
	tellFloor  = 5 * time.Second  // to a box that may have started since
	tellClock  = 10 * time.Second // ours, for the other to compare
	writeFloor = 10 * time.Second // between writes; calls may come every few seconds
)

// An identity is what moves with the site's WireGuard key: the time of its latest
// call. Both boxes keep it, over power cuts too, up to the ten seconds that it may
// be written late: a clock loses more than that while a box starts.
type identity struct {
	env  *daemon.Env
	copy *flowsync.Sync // nil: there is no cable
	rep  *report

	mu      sync.Mutex
	floor   time.Time
	written time.Time // the floor in the file
	wrote   time.Time // when
	failed  bool      // the last write
	ahead   time.Duration
}

func newIdentity(env *daemon.Env, rep *report, copy *flowsync.Sync) *identity {
	d := &identity{env: env, rep: rep, copy: copy}
	text, err := os.ReadFile(d.path())
	if err == nil {
		var n int64
		if n, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			d.floor = time.Unix(0, n)
			d.written = d.floor
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		env.Log.Warn("the tunnel's last call is not known", "err", err)
	}
	return d
}

func (d *identity) path() string { return filepath.Join(d.env.State, floorFile) }

// tasks learn of this box's calls, and keep the other box abreast.
func (d *identity) tasks() []daemon.Task {
	all := []daemon.Task{
		{Name: "tunnel's calls", Run: func(ctx context.Context) error {
			return wirefile.Follow(ctx, d.env.Run, wire.NetFile, d.called, func(err error) { d.env.Log.Warn("tunnel's calls", "err", err) })
		}},
		{Name: "write the floor", Run: daemon.Every(writeFloor, func(time.Time) { d.write() })},
	}
	if d.copy != nil {
		all = append(all,
			daemon.Task{Name: "tell the floor", Run: daemon.Every(tellFloor, func(time.Time) { d.tell() })},
			daemon.Task{Name: "compare clocks", Run: daemon.Every(tellClock, func(now time.Time) { d.say(accord.Note{Kind: accord.Clock, At: now}) })})
	}
	return all
}

// called is netd's word: our own calls.
func (d *identity) called(n *wire.Net) {
	if n == nil {
		return
	}
	for _, t := range n.Tunnels {
		if d.raise(t.Called) {
			d.tell()
		}
	}
}

// raise reports whether at is later than all calls so far.
func (d *identity) raise(at time.Time) bool {
	d.mu.Lock()
	raised := at.After(d.floor)
	if raised {
		d.floor = at
	}
	soon := raised && time.Since(d.wrote) < writeFloor
	d.mu.Unlock()
	if raised {
		if !soon {
			d.write()
		}
		d.rep.publish()
	}
	return raised
}

// write makes the floor durable. Stop here: the old one stands.
func (d *identity) write() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.floor.Equal(d.written) {
		return
	}
	d.wrote = time.Now()
	err := durable.WriteFile(d.path(), fmt.Appendf(nil, "%d\n", d.floor.UnixNano()), 0o600)
	if err == nil {
		d.written = d.floor
	} else if !d.failed {
		d.env.Log.Error("remember the tunnel's last call", "err", err)
	}
	d.failed = err != nil
}

func (d *identity) tell() {
	d.mu.Lock()
	floor := d.floor
	d.mu.Unlock()
	if d.copy != nil && !floor.IsZero() {
		d.say(accord.Note{Kind: accord.Floor, At: floor})
	}
}

// say drops the error: it is said again, and Status shows who is out of reach.
func (d *identity) say(n accord.Note) { _ = d.copy.Say(n.String()) }

// hear is a note of the other box.
func (d *identity) hear(n accord.Note) {
	switch n.Kind {
	case accord.Floor:
		d.raise(n.At)
	case accord.Clock:
		d.say(accord.Note{Kind: accord.Echo, At: n.At, Now: time.Now()})
	case accord.Echo:
		d.compare(pairclock.Compare(n.At, n.Now, time.Now().Round(0)))
	}
}

// compare follows the other box's clock when this one is behind and does not work.
func (d *identity) compare(m pairclock.Measure) {
	step, fault := pairclock.Follow(m, d.rep.leads())
	if step > 0 {
		at := unix.NsecToTimespec(time.Now().Add(step).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &at); err != nil {
			fault = fmt.Sprintf("this box's clock is %v behind the other one's and can't be set: %v", step.Round(time.Millisecond), err)
		} else {
			d.env.Log.Warn("clock set forward to the other box's", "by", step.Round(time.Millisecond))
			m.Ahead = 0
		}
	}
	if fault != "" {
		d.env.Faults.Raise(wire.Fault{
			ID: faultClock, Severity: wire.Warning, Where: "pair", What: fault,
			Do: "set the clock that is wrong; until then the hub may refuse this box when it takes over",
		})
	} else {
		d.env.Faults.Clear(faultClock, "pair")
	}
	d.mu.Lock()
	d.ahead = m.Ahead
	d.mu.Unlock()
}

// wire is what failoverd.json says of it; run: this box has the addresses.
func (d *identity) wire(run bool) *wire.PairTunnel {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &wire.PairTunnel{Run: run, PeerAheadMS: d.ahead.Milliseconds() / 100 * 100}
	if !d.floor.IsZero() {
		w.Floor = d.floor.UTC()
	}
	return w
}
