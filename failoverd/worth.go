package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/fitness"
	"clinicgate/failoverd/vrrp"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// A worth keeps every group's priority at what this box is worth: it gathers the
// facts, and the judgement is package fitness's.
type worth struct {
	env    *daemon.Env
	rep    *report
	groups []*group
	heat   string // folder of the thermal zones

	mu    sync.Mutex
	judge fitness.Judge
	net   *wire.Net  // nil: nothing said yet
	store *wire.Sync // likewise
	shown []fitness.Flaw
}

// heatFolder is where the kernel tells temperatures.
const heatFolder = "/sys/class/thermal"

// worthEvery is how often facts are gathered that nobody announces: a dead program,
// the disk, the temperature.
const worthEvery = time.Second

func newWorth(env *daemon.Env, rep *report, groups []*group) *worth {
	return &worth{env: env, rep: rep, groups: groups, heat: heatFolder}
}

func (w *worth) tasks() []daemon.Task {
	return []daemon.Task{
		follow(w, wire.NetFile, func(n *wire.Net) { w.net = n }),
		follow(w, wire.SyncFile, func(s *wire.Sync) { w.store = s }),
		{Name: "worth", Run: func(ctx context.Context) error {
			return daemon.Every(worthEvery, func(now time.Time) { w.weigh(ctx, now) })(ctx)
		}},
	}
}

// follow takes another program's word over, and weighs it.
func follow[T any](w *worth, file string, take func(*T)) daemon.Task {
	return daemon.Task{Name: file, Run: func(ctx context.Context) error {
		return wirefile.Follow(ctx, w.env.Run, file, func(said *T) {
			w.mu.Lock()
			take(said)
			w.mu.Unlock()
			w.weigh(ctx, time.Now())
		}, func(err error) { w.env.Log.Warn("read the other programs' word", "err", err) })
	}}
}

// weigh judges the facts and gives the groups their priority, if it changed.
func (w *worth) weigh(ctx context.Context, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock() // to the end: an older judgement must not overtake a newer one
	flaws, _ := w.judge.Judge(now, w.facts())
	if slices.Equal(flaws, w.shown) {
		return
	}
	w.shown = flaws
	w.env.Log.Info("this box as a gateway", "flaws", fitness.Words(flaws))
	w.rep.flawed(flaws)
	for _, g := range w.groups {
		g.order(ctx, func() { g.step(vrrp.Rank{Priority: fitness.Priority(g.cfg.Priority, flaws)}) })
	}
}

// facts gathers what is known. The caller holds the lock.
func (w *worth) facts() fitness.Facts {
	f := fitness.Facts{Heat: hottest(w.heat)}
	if w.net != nil {
		f.Net = running(w.net.PID)
		for _, u := range w.net.Uplinks {
			f.Uplinks++
			if u.State == wire.UplinkUp || u.State == wire.UplinkDegraded {
				f.Usable++
			}
		}
	}
	if w.store != nil {
		f.Sync = running(w.store.PID)
		for _, fault := range w.store.Faults {
			if slices.Contains(blocking(), fault.ID) {
				f.SyncFault = fault.ID
				break
			}
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(w.env.State, &disk); err == nil {
		f.DiskTotal, f.DiskFree = int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize
	}
	return f
}

// blocking are the faults with which syncd takes no upload.
func blocking() []string {
	return []string{"sync.store", "sync.disk-full", "sync.tls-missing", "sync.endpoint-down"}
}

// running tells whether the process that published is still there.
func running(pid int) fitness.Program {
	if !wirefile.Alive(pid) {
		return fitness.Dead
	}
	return fitness.Runs
}

// hottest reads the thermal zones and returns the one nearest to its limit. A sensor
// that can't be read is none.
func hottest(folder string) (worst fitness.Heat) {
	zones, _ := filepath.Glob(filepath.Join(folder, "thermal_zone*"))
	for _, zone := range zones {
		heat := fitness.Heat{Zone: text(zone, "type"), Milli: number(zone, "temp")}
		points, _ := filepath.Glob(filepath.Join(zone, "trip_point_*_type"))
		for _, p := range points {
			name := filepath.Base(p)
			if text(zone, name) == "critical" {
				heat.Critical = number(zone, strings.TrimSuffix(name, "type")+"temp")
			}
		}
		if heat.Milli > 0 && (worst.Milli == 0 || heat.Milli-heat.Critical > worst.Milli-worst.Critical) {
			worst = heat
		}
	}
	return worst
}

func text(folder, name string) string {
	b, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number is 0 for what is no number.
func number(folder, name string) int {
	n, err := strconv.Atoi(text(folder, name))
	if err != nil {
		return 0
	}
	return n
}

// flawed takes over what makes this box the worse one.
func (r *report) flawed(flaws []fitness.Flaw) {
	r.mu.Lock()
	r.flaws = nil
	for _, f := range flaws {
		r.flaws = append(r.flaws, wire.Flaw{Name: f.Name, Handicap: f.Handicap, Why: f.Why})
	}
	r.mu.Unlock()
	r.publish()
}
