package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/lamp"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// faults is what is wrong now. The daemons' set of the same kind comes with TLS,
// which PID 1 does without.
type faults struct {
	log *slog.Logger
	mu  sync.Mutex
	all []wire.Fault
}

func newFaults(log *slog.Logger) *faults { return &faults{log: log} }

// raise states a fault; one with the same ID and Where keeps its time.
func (f *faults) raise(n wire.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n.Since = time.Now().UTC().Truncate(time.Millisecond)
	i := slices.IndexFunc(f.all, func(o wire.Fault) bool { return o.ID == n.ID && o.Where == n.Where })
	if i < 0 {
		f.all = append(f.all, n)
	} else {
		n.Since = f.all[i].Since
		if f.all[i] == n {
			return
		}
		f.all[i] = n
	}
	f.log.Warn("fault", "id", n.ID, "where", n.Where, "what", n.What, "do", n.Do)
}

// clear ends the faults with an ID.
func (f *faults) clear(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = slices.DeleteFunc(f.all, func(o wire.Fault) bool { return o.ID == id })
}

// none reports whether no fault with that ID stands.
func (f *faults) none(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(f.all, func(o wire.Fault) bool { return o.ID == id })
}

// list returns the faults, alarms first, then by age.
func (f *faults) list() []wire.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.all)
	rank := map[wire.Severity]int{wire.Alarm: 0, wire.Warning: 1, wire.Note: 2}
	slices.SortStableFunc(all, func(a, b wire.Fault) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.Since.Compare(b.Since))
	})
	return all
}

// published is what the world was told last.
type published struct {
	text  []byte // init.json without its time
	ready time.Duration
	mu    sync.Mutex // guards now, which the control socket reads
	now   wire.Init
}

// publish tells the state of the box: in init.json and, when for the first time
// every service is ready, on the console.
func (b *box) publish(services []wire.Service) {
	if b.seen.ready == 0 && allReady(services) {
		b.seen.ready = uptime()
		say("ready in %.2f s", b.seen.ready.Seconds())
		b.log.Info("ready", "after_ms", b.seen.ready.Milliseconds())
		b.front.know(func(o *lamp.Own) { o.Ready = true })
	}
	b.checkLog()
	b.state.Booted = booted(b.state.Booted, time.Now(), uptime())
	v := b.state
	v.Header = wire.Header{V: wire.Version, Program: "init", Release: b.release, PID: os.Getpid(), Faults: b.faults.list()}
	v.ReadyMS = b.seen.ready.Milliseconds()
	v.Services = services
	v.Attest = b.witness.shown()
	v.Slots = b.slots.published()
	if b.lights != nil {
		v.Lamp = string(b.front.state(time.Now()))
	}
	text, err := json.Marshal(&v)
	if err != nil {
		b.log.Error("publish", "err", err)
		return
	}
	if bytes.Equal(text, b.seen.text) {
		return
	}
	v.Published = time.Now().UTC().Truncate(time.Millisecond)
	if err := wirefile.Publish(runDir, wire.InitFile, &v, 0o640); err != nil {
		b.log.Error("publish", "err", err)
		return
	}
	b.seen.text = text
	b.seen.mu.Lock()
	b.seen.now = v
	b.seen.mu.Unlock()
}

// checkLog states whether the log files lack lines.
func (b *box) checkLog() {
	err := b.book.Trouble()
	if err == nil {
		b.faults.clear("log.disk")
		return
	}
	b.faults.raise(wire.Fault{
		ID: "log.disk", Severity: wire.Warning, Where: logDir, What: err.Error(),
		Do: "free space on the data partition; the latest lines are in memory (gatectl log)",
	})
}

func allReady(services []wire.Service) bool {
	return !slices.ContainsFunc(services, func(s wire.Service) bool { return s.State != wire.ServiceReady })
}

// maxDrift is by how much the time of the start may be off before it is told anew.
const maxDrift = 2 * time.Second

// booted is when the box was started, by the clock as it is now: a clock that was set
// since then had the start at another time. What is told already holds while it is
// near, for each change is published.
func booted(told, now time.Time, up time.Duration) time.Time {
	at := now.Add(-up).UTC().Truncate(time.Millisecond)
	if at.Sub(told).Abs() <= maxDrift {
		return told
	}
	return at
}
