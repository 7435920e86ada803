package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/panel/day"
	"clinicgate/firmware/panel/view"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// How often what is done.
const (
	sampleEvery = 20 * time.Second // three a minute: the worst of each is drawn
	keepEvery   = 15 * time.Minute // a power cut costs the plots so much
	keysEvery   = 10 * time.Second
	casesEvery  = 10 * time.Second
)

// Bounds of syncd's answer about teleconsultations.
const (
	maxCases  = 1 << 20
	casesTime = 5 * time.Second
)

// Bounds of a connection: nobody sends anything but small questions.
const (
	bodyWithin = 10 * time.Second
	idleFor    = 2 * time.Minute
	maxHeader  = 8 << 10
)

// A watcher looks at what the programs publish, and remembers the day.
type watcher struct {
	source  collect.Source
	env     *daemon.Env
	metrics metric.Set

	mu    sync.Mutex
	day   *day.Day
	moved view.Progress
	cases []wire.Consult // nil: syncd has not said
}

// maxDay bounds the file; the largest real one is some 280 KiB.
const maxDay = 1 << 20

func (w *watcher) file() string { return filepath.Join(w.env.State, "day") }

// open reads the day that was kept. One that can't be read is one less plot.
func (w *watcher) open() {
	w.day = &day.Day{}
	fi, err := os.Stat(w.file())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var data []byte
	if err == nil && fi.Size() <= maxDay {
		data, err = os.ReadFile(w.file())
	}
	var kept *day.Day
	if err == nil {
		kept, err = day.Parse(data)
	}
	if err != nil {
		w.env.Log.Warn("the lines' last day is not known", "err", err)
		return
	}
	w.day = kept
}

// look is how it is now. The day is only read while the page is made of it, under
// the lock that sample takes too.
func (w *watcher) look() view.Of {
	now := time.Now()
	l := w.source.Look(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(l.Box)
	return view.Of{Box: l.Box, Day: w.day.Clone(), Moved: w.moved, Now: now, Consults: w.cases}
}

// sample takes one point of the day, whether somebody looks or not.
func (w *watcher) sample(now time.Time) {
	l := w.source.Look(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(l.Box)
	if l.Box.Net.Presence == status.Live {
		w.day.Add(now, l.Box.Net.V.Uplinks)
	}
}

func (w *watcher) note(b status.Box) {
	if b.Sync.Presence == status.Live && b.Sync.V.Lanes != nil {
		w.moved = w.moved.Note(b.Sync.V.Lanes)
	}
}

// consults asks syncd where the teleconsultations stand. Not in its wire file: there
// may be hundreds, and nobody else wants them. Without an answer they are not known.
func (w *watcher) consults(ctx context.Context) {
	var all wire.Consults
	peer := ask.Peer{Run: w.source.Run, Name: "syncd", Limit: maxCases, Time: casesTime}
	if err := peer.JSON(ctx, http.MethodGet, "/consults", nil, &all); err != nil {
		all.Items = nil
	} else if all.Items == nil {
		all.Items = []wire.Consult{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cases = all.Items
}

// keep keeps the day over power cuts, now and then and at the end. Stop between
// two: the older one is there, whole, and the plots have a gap.
func (w *watcher) keep(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.save()
		case <-ctx.Done():
			w.save()
			return nil
		}
	}
}

func (w *watcher) save() {
	w.mu.Lock()
	data := w.day.Append(nil)
	w.mu.Unlock()
	err := os.MkdirAll(w.env.State, 0o700)
	if err == nil {
		err = durable.WriteFile(w.file(), data, 0o600)
	}
	if err != nil {
		w.env.Log.Warn("keep the lines' day", "err", err)
	}
}

// asked counts a request.
func (w *watcher) asked(status int) {
	w.metrics.Counter("panel_requests_total", "requests to the clinic's page", "status", strconv.Itoa(status)).Inc()
}
