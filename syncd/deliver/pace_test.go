package deliver

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/allowance"
	"clinicgate/syncd/lane"
)

// faults keeps what was said last.
type faults map[string][]wire.Fault

func (f faults) Keep(id string, all ...wire.Fault) { f[id] = all }

// On a dear uplink bulk waits until the cheaper one is back, and says so; what was
// under way is broken off and comes whole, once. Others are not held up.
func TestBulkWaitsForACheaperUplink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dear := allowance.Way{Dear: "lte", Cheaper: true}
	began, cut := make(chan struct{}), false
	w.p.pieces = func(key string) {
		if key == "holter" && !cut {
			cut = true
			w.e.Way(dear)
			close(began)
		}
	}
	came := func(key string) int {
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		return w.p.has[key]
	}
	w.run(Policy{})
	w.accept("holter", lane.Bulk, "", 1<<20)
	select {
	case <-began:
	case <-time.After(20 * time.Second):
		t.Fatal("bulk does not leave by a cheap uplink")
	}
	w.accept("ecg", lane.Stat, "", 1000)
	w.accept("report", lane.Routine, "", 1000)
	w.eventually("others", func() bool { return came("ecg") == 1 && came("report") == 1 })
	said := faults{}
	w.eventually("a word that it waits", func() bool {
		w.e.Report(said)
		return len(said["destination.dear"]) == 1
	})
	if came("holter") != 0 {
		t.Fatal("bulk left by the dear uplink")
	}
	w.e.Way(allowance.Way{})
	w.eventually("the holter", func() bool { return came("holter") == 1 })
	if w.e.Report(said); len(said["destination.dear"]) != 0 {
		t.Errorf("still said to wait: %+v", said)
	}
}

// A piece that has left makes the lane's next one wait, not an urgent one; another
// line frees it at once.
func TestPace(t *testing.T) {
	p, now := newPace(allowance.Policy{}), time.Now()
	p.set(allowance.Way{Up: 1e6})
	p.passed(lane.Bulk, 64<<10, now)
	left, changed := p.pause(lane.Bulk, now)
	if urgent, _ := p.pause(lane.Stat, now); left <= 0 || urgent > 0 {
		t.Errorf("bulk waits %v, an urgent item %v", left, urgent)
	}
	if !p.set(allowance.Way{Up: 2e6}) || p.set(allowance.Way{Up: 2e6}) {
		t.Error("a change of the way is told wrongly")
	}
	select {
	case <-changed:
	default:
		t.Error("the change went unheard")
	}
	if left, _ := p.pause(lane.Bulk, now); left > 0 {
		t.Errorf("bulk waits %v for another line", left)
	}
}
