package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/twin"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/mirror"
	"clinicgate/syncd/mirror/census"
	"clinicgate/syncd/queue"
)

// Faults of the pair's uploads.
const (
	faultMirrorKey   = "sync.mirror-key"
	faultMirrorAlone = "sync.mirror-alone"
	faultMirrorClash = "sync.mirror-clash"
)

// pair is this box's part in keeping uploads twice.
type pair struct {
	*mirror.Mirror
	s   *state
	key [32]byte

	mu       sync.Mutex
	since    time.Time // this box became master
	told     bool      // failoverd has said which box serves
	delivers bool
}

// openPair reads the pair's key. A box that can't be told from others mirrors
// nothing; the clinic has its uploads all the same, and the fault says what is
// missing.
func (s *state) openPair() *pair {
	if s.cfg.Mirror == nil {
		return nil
	}
	key, err := twin.ReadKey(filepath.Join(s.env.Secrets, twin.KeyFile))
	if err != nil {
		s.env.Faults.Raise(wire.Fault{
			ID: faultMirrorKey, Severity: wire.Alarm, Where: "sync.mirror",
			What: fmt.Sprintf("%v; uploads are on this box's disk alone", err),
			Do:   "put the pair's " + twin.KeyFile + " into secrets/syncd on both boxes and restart syncd",
		})
		return nil
	}
	return &pair{s: s, key: key, since: time.Now()}
}

// secret is what names of items are made with; nil: there is no other box.
func (p *pair) secret() []byte {
	if p == nil {
		return nil
	}
	return queue.Secret(p.key)
}

// begin makes the mirror of the open queue. From then on it is asked before
// anything is acknowledged, and nothing is delivered until it is this box's turn.
func (p *pair) begin() (err error) {
	if p == nil {
		return nil
	}
	c := p.s.cfg.Mirror
	p.Mirror, err = mirror.New(mirror.Config{
		Port: c.Port, Listen: c.Listen, Peer: c.Peer, Key: p.key, Wait: c.Wait, Refuse: c.Refuse,
		Flight: p.s.deliver.Flight, Clash: p.clash,
	}, p.s.queue, p.s.env.Log)
	if err == nil {
		p.s.deliver.Serve(false)
		p.s.deliver.Mind(p.Mirror)
	}
	return err
}

func (p *pair) clash(c *queue.Conflict) {
	p.s.env.Faults.Raise(wire.Fault{
		ID: faultMirrorClash, Severity: wire.Alarm, Where: "item " + c.ID.String(),
		What: "the two boxes accepted different contents under the same identity while they were apart; both are held",
		Do:   "compare the two in gatectl queue held with the recording on the device, and release the right one",
	})
}

// turnEvery is how often a box looks whether it delivers.
const turnEvery = 200 * time.Millisecond

// tasks are the mirror's work, and whose turn it is to deliver.
func (p *pair) tasks() []daemon.Task {
	if p == nil {
		return nil
	}
	return append(p.Tasks(), daemon.Task{Name: "turn to deliver", Run: daemon.Every(turnEvery, p.turn)})
}

// unsaid is how long a box that starts waits for failoverd's word before it takes
// itself for the only one.
const unsaid = 15 * time.Second

// hear is failoverd's word.
func (p *pair) hear(f *wire.Failover) {
	if p == nil || f == nil || !wirefile.Alive(f.PID) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = p.told || slices.ContainsFunc(f.Groups, func(g wire.Group) bool { return g.Role != wire.RoleInit })
}

// turn lets the master deliver, and the box that stands by not.
func (p *pair) turn(now time.Time) {
	standby := p.s.standby.Load()
	p.mu.Lock()
	if !p.told && now.Sub(p.s.started) < unsaid {
		standby = true // the other box may serve, and this one not know it yet
	}
	if standby {
		p.since = now
	}
	on := census.Delivers(now, p.since, standby, p.Other())
	news := on != p.delivers
	p.delivers = on
	p.mu.Unlock()
	if news {
		p.s.env.Log.Info("the pair's turn", "delivers", on)
	}
	p.s.deliver.Serve(on)
}

// accepter is the way into the queue: through the mirror, when there is one.
func (p *pair) accepter(q ingest.Accepter) ingest.Accepter {
	if p == nil {
		return q
	}
	return mirrored{q, p}
}

// mirrored is a queue whose receipts count for both boxes.
type mirrored struct {
	ingest.Accepter
	pair *pair
}

// Accept is the queue's, and returns when the other box has the item too.
func (m mirrored) Accept(ctx context.Context, it queue.Item, body io.Reader) (queue.Receipt, error) {
	r, err := m.Accepter.Accept(ctx, it, body)
	if err == nil {
		err = m.pair.Confirm(ctx, r.ID)
	}
	if err != nil {
		return queue.Receipt{}, err
	}
	return r, nil
}

// restarts is how long the other box may be missing before a person is told: it
// boots in less.
const restarts = 30 * time.Second

// wire is what syncd.json says of it, and states its faults.
func (p *pair) wire(now time.Time) *wire.Mirror {
	if p == nil {
		return nil
	}
	st := p.Status()
	p.mu.Lock()
	w := &wire.Mirror{
		Peer: p.s.cfg.Mirror.Peer.String(), Alive: st.Alive, Since: st.Since.UTC().Truncate(time.Second), Delivers: p.delivers,
		Behind: st.Behind, Oldest: st.Oldest.UTC().Truncate(time.Second), LagMS: st.Lag.Milliseconds(), Alone: st.Alone, Refuses: p.s.cfg.Mirror.Refuse,
	}
	p.mu.Unlock()
	if st.Oldest.IsZero() {
		w.Oldest = time.Time{}
	}
	if st.Err != nil {
		w.Reason = st.Err.Error()
	}
	p.s.env.Faults.Keep(faultMirrorAlone, alone(w, now)...)
	return w
}

// alone is the fault of a box whose uploads are nowhere else.
func alone(w *wire.Mirror, now time.Time) []wire.Fault {
	if w.Alive || now.Sub(w.Since) < restarts && w.Alone == 0 {
		return nil
	}
	f := wire.Fault{
		Severity: wire.Warning, Where: "pair", What: "the other box does not take uploads",
		Do: "gatectl queue pair says why at the moment; see that the other box runs, the cable between the boxes, sync.mirror on both, and that both have the same " + twin.KeyFile,
	}
	switch {
	case w.Refuses:
		f.Severity = wire.Alarm
		f.What += "; devices are told to keep their recordings, as sync.mirror.alone says"
	case w.Behind > 0:
		f.Severity = wire.Alarm
		f.What += fmt.Sprintf("; %d uploads are on this box's disk alone", w.Behind)
	}
	return []wire.Fault{f}
}

// kept reports that what waits here is in the box that delivers, too.
func kept(w *wire.Mirror) bool { return w != nil && w.Alive && w.Behind == 0 }

// routes adds what a person may ask of it.
func (p *pair) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /queue/pair", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, wire.QueuePair{V: 1, Mirror: p.wire(time.Now())})
	})
}
