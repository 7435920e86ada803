//go:debug multipathtcp=0

// Update brings signed releases to the box's other slot and proves them: it asks
// the depot, fetches what is missing, waits until nobody is disturbed, has PID 1
// start the release on trial, and after that start finds out whether all is well.
// It can write nothing but the slot that does not run.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/gatectl/initctl"
	"clinicgate/firmware/update/config"
	"clinicgate/firmware/update/health"
	"clinicgate/firmware/update/turn"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

func main() { os.Exit(daemon.Main("update", config.Parse, run)) }

const (
	settle    = 10 * time.Second // after a start, before the depot is asked
	proveTick = 2 * time.Second
)

func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	u := &updater{env: env, cfg: cfg, init: initctl.Client{Run: env.Run}, wake: make(chan struct{}, 1)}
	u.state.Ring = cfg.Ring
	u.say(wire.UpdateIdle, "")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /look", u.look)
	env.Ready()
	return daemon.Run(ctx, env.Control(mux), daemon.Task{Name: "work", Run: u.work})
}

// updater is the daemon at work.
type updater struct {
	env  *daemon.Env
	cfg  config.Config
	init initctl.Client
	wake chan struct{} // somebody wants the depot asked now

	told []byte // the last report that was taken; of the task work

	mu    sync.Mutex
	state wire.Update
}

// look answers POST /look: the depot is asked now instead of at its time.
func (u *updater) look(w http.ResponseWriter, _ *http.Request) {
	if u.cfg.Depot == nil {
		http.Error(w, "the site file has no [update]: nobody to ask", http.StatusConflict)
		return
	}
	select {
	case u.wake <- struct{}{}:
	default: // it is being asked
	}
	w.WriteHeader(http.StatusAccepted)
}

// say publishes a state and why it is so.
func (u *updater) say(state, why string) {
	u.change(func(s *wire.Update) { s.State, s.Why = state, why })
}

func (u *updater) change(f func(*wire.Update)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.state)
	s := u.state
	if err := u.env.Publish(wire.UpdateFile, &s); err != nil {
		u.env.Log.Error("publish", "err", err)
	}
}

// work proves a release on trial first, then asks the depot now and then.
func (u *updater) work(ctx context.Context) error {
	if err := u.prove(ctx); err != nil || u.cfg.Depot == nil {
		<-ctx.Done()
		return nil
	}
	next := time.After(settle)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.wake:
		case <-next:
		}
		u.once(ctx)
		u.tell(ctx)
		next = time.After(u.cfg.Every)
	}
}

// read returns a wire file, or nil when it can't be read.
func read[T any](u *updater, name string) *T {
	v, err := wirefile.Read[T](u.env.Run, name)
	if err != nil {
		return nil
	}
	return v
}

// prove judges the release on trial, if this start is one.
func (u *updater) prove(ctx context.Context) error {
	var t health.Trial
	tick := time.NewTicker(proveTick)
	defer tick.Stop()
	for {
		// Init publishes once the services run; before that there is nothing to judge.
		i := read[wire.Init](u, wire.InitFile)
		if i != nil && (i.Slots == nil || i.Slots.Trial == nil || !i.Slots.Trial.Running) {
			return nil
		}
		if i != nil {
			done, err := u.judge(ctx, &t, i)
			if done {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// judge looks once and does what the verdict asks for.
func (u *updater) judge(ctx context.Context, t *health.Trial, i *wire.Init) (done bool, err error) {
	verdict, why := t.Judge(health.Signs{
		Init: i, Net: read[wire.Net](u, wire.NetFile), Sync: read[wire.Sync](u, wire.SyncFile), Card: read[wire.Card](u, wire.CardFile),
	}, time.Now())
	u.say(wire.UpdateProving, why)
	switch verdict {
	case health.Well:
		err = u.init.Slot(ctx, "commit", nil)
		u.env.Log.Info("release proved itself", "err", err)
	case health.Failed, health.World:
		blame := "0"
		if verdict == health.Failed {
			blame = "1"
		}
		err = u.init.Slot(ctx, "fail", map[string][]string{"why": {why}, "blame": {blame}})
		u.env.Log.Warn("release failed its trial", "why", why, "blame", blame, "err", err)
	default:
		return false, nil
	}
	if err != nil {
		u.say(wire.UpdateProving, err.Error())
		return false, nil // asked again at the next look; init's own limit ends it
	}
	return true, nil
}

// facts are what decides about the box's turn.
func (u *updater) facts() turn.Facts {
	return turn.Facts{
		Code: u.cfg.Site.Code, Release: u.env.Release, Windows: u.cfg.Windows, Now: time.Now(),
		Init: read[wire.Init](u, wire.InitFile), Sync: read[wire.Sync](u, wire.SyncFile),
		Card: read[wire.Card](u, wire.CardFile), Pair: read[wire.Failover](u, wire.FailoverFile),
	}
}

// path is a file in the daemon's folder.
func (u *updater) path(name string) string { return filepath.Join(u.env.State, name) }
