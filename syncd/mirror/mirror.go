// Package mirror keeps the queue of the pair's other box like this one's. It
// guarantees that an item which Confirm returned nil for, while the other box was
// there, is durable in both boxes: it survives the loss of either disk.
//
// There is no consensus and no log to follow. Items and standings are sets that
// merge (package queue), so each box tells the other one what that lacks, in any
// order and as often as it likes: at a join after both have counted (package
// census), from then on as it happens. Each box dials the other to tell, and
// listens to be told, over TLS that both pin to the pair's key (package twin).
//
// Inside that channel items travel as they came, and each box seals them under its
// own vault's key: neither box's key ever leaves it, and a disk that is stolen
// together with the pair's key opens nothing of the other box's.
package mirror

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/twin"
	"clinicgate/syncd/mirror/census"
	"clinicgate/syncd/queue"
)

// Config says where the other box is and what holds without it.
type Config struct {
	Port   string         // netdev of the cable between the boxes; empty: any
	Listen netip.AddrPort // ours on it
	Peer   netip.AddrPort // the other box's
	Key    [32]byte       // the pair's
	// Wait is how long Confirm bears that the other box takes nothing.
	Wait time.Duration
	// Refuse: nothing is confirmed while the other box is missing.
	Refuse bool
	// Flight returns how many attempts to deliver are under way here.
	Flight func() int
	// Clash is told of contents that the boxes accepted apart under one identity.
	Clash func(*queue.Conflict)
}

// ErrAlone is the error of Confirm for an item that is in this box only, where the
// site wants it in both.
var ErrAlone = errors.New("mirror: the pair's other box is missing, and uploads are not taken without it")

// purpose tells the identity of this session from the pair's others.
const purpose = "clinicgate pair uploads 1"

// A Mirror is this box's part. Safe for concurrent use.
type Mirror struct {
	cfg    Config
	queue  *queue.Queue
	log    *slog.Logger
	terms  *tls.Config
	client *http.Client
	run    string // this run of the program, so that it knows itself

	mu      sync.Mutex
	debts   debts
	up      bool // the other box has said what it has; it is told the rest
	tried   bool // to reach it, at least once
	since   time.Time
	moved   time.Time // it took something
	drop    context.CancelCauseFunc
	changed chan struct{} // closed and replaced: up, or there is something to tell
	err     error         // why it is not up
	saidAt  time.Time     // err was last logged
	other   census.Other
	flights flights
	lag     time.Duration
	alone   uint64
	told    uint64
	taken   uint64
}

// Status is how it goes, for people.
type Status struct {
	Alive  bool
	Since  time.Time     // of Alive's present value
	Behind int           // items the other box lacks, or doesn't know the standing of
	Oldest time.Time     // since when; zero: nothing is behind
	Lag    time.Duration // from an item's acceptance until the other box had it, lately
	Alone  uint64        // items confirmed without the other box, since the start
	Told   uint64        // items and standings that it took
	Taken  uint64        // items and standings taken from it
	Err    error         // why it is not alive
}

// New returns the mirror of a queue that was opened with Secret(cfg.Key).
func New(cfg Config, q *queue.Queue, log *slog.Logger) (*Mirror, error) {
	terms, err := twin.Terms(cfg.Key, purpose)
	if err != nil {
		return nil, err
	}
	var run [16]byte
	rand.Read(run[:])
	m := &Mirror{
		cfg: cfg, queue: q, log: log, terms: terms, run: hex.EncodeToString(run[:]), since: time.Now(),
		debts: newDebts(), flights: flights{of: map[census.Name]time.Time{}}, changed: make(chan struct{}), drop: func(error) {},
	}
	m.client = m.newClient()
	now := time.Now()
	q.Observe(m.owe)
	for _, k := range q.Known() {
		if k.Standing.State != queue.Delivered { // until the boxes have met, all of it may be here alone
			m.debts.owe(k.ID, true, now, false)
		}
	}
	return m, nil
}

// Tasks are the work; all of it ends with its context.
func (m *Mirror) Tasks() []daemon.Task {
	return []daemon.Task{{Name: "tell uploads", Run: m.tell}, {Name: "take uploads", Run: m.take}}
}

// owe is the queue's word that something changed here.
func (m *Mirror) owe(id queue.ID, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.debts.owe(id, fresh, time.Now(), true)
	m.ring()
}

// ring tells all who wait. The caller holds mu.
func (m *Mirror) ring() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Confirm returns nil once the other box has the item durably; or, unless the site
// refuses that, when the other box is missing for longer than a blip or has taken
// nothing for Wait. A session that breaks and comes back costs a sender time and no
// copy. An item that is here alone is told as soon as the boxes meet again.
func (m *Mirror) Confirm(ctx context.Context, id queue.ID) error {
	start := time.Now()
	for {
		m.mu.Lock()
		d := m.debts.of[id]
		up, tried, changed := m.up, m.tried, m.changed
		there := d == nil || !d.whole
		var paid chan struct{}
		if !there {
			paid = d.paid
			m.debts.urge(id)
		}
		left := m.patience(start, time.Now())
		m.mu.Unlock()
		switch {
		case tried && there:
			return nil
		case left <= 0 && up:
			m.fall(fmt.Errorf("the other box has taken nothing for %v", m.cfg.Wait))
			continue
		case left <= 0 && tried:
			return m.single(id)
		case left <= 0:
			left = m.cfg.Wait // the first attempt to reach it ends by itself
		}
		timer := time.NewTimer(left)
		if up {
			changed = nil // what was told anew is not this
		}
		select {
		case <-paid:
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("mirror: %w", ctx.Err())
		}
		timer.Stop()
	}
}

// blip is how long a session that broke may take to come back before the other box is
// taken for missing, at most: the next attempt follows within a second (tell).
const blip = 2 * time.Second

// patience is how much longer a sender that came at start waits: while the boxes are
// together, Wait from then or from what the other box took last; while they are not, a
// blip at most, and no more once that is over. The caller holds mu.
func (m *Mirror) patience(start, now time.Time) time.Duration {
	wait := m.cfg.Wait
	if !m.up {
		wait = min(wait, blip)
		if m.tried && now.Sub(m.since) >= wait {
			return 0
		}
	}
	if m.moved.After(start) {
		start = m.moved
	}
	return wait - now.Sub(start)
}

// single is what becomes of an item that is in this box alone.
func (m *Mirror) single(id queue.ID) error {
	if m.cfg.Refuse {
		return ErrAlone
	}
	m.mu.Lock()
	m.alone++
	m.mu.Unlock()
	m.log.Warn("an upload is acknowledged without the other box", "item", id)
	return nil
}

// reasons is the least time between two in the log: a box that boots is missing for
// several, in turns.
const reasons = 30 * time.Second

// fall ends the session: from here on nobody waits for the other box, until both
// have met again.
func (m *Mirror) fall(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	news := m.up || !m.tried || m.err == nil || m.err.Error() != err.Error() && now.Sub(m.saidAt) >= reasons
	if m.up {
		m.since = now
	}
	m.up, m.tried, m.err, m.other = false, true, err, census.Other{}
	m.drop(err)
	m.debts.release()
	m.ring()
	if news {
		m.saidAt = now
		m.log.Warn("uploads are not mirrored", "peer", m.cfg.Peer, "err", err)
	}
}

// rise begins what fall ended.
func (m *Mirror) rise(drop context.CancelCauseFunc, lacks []lack, stamp uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.debts.replace(lacks, stamp, time.Now())
	m.up, m.tried, m.err, m.drop = true, true, nil, drop
	m.since, m.moved = time.Now(), time.Now()
	m.ring()
	m.log.Info("uploads are mirrored", "peer", m.cfg.Peer, "behind", len(lacks))
}

// Other is the other box as it said last.
func (m *Mirror) Other() census.Other {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.other
}

// Status returns what to show.
func (m *Mirror) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{
		Alive: m.up, Since: m.since, Behind: len(m.debts.of), Oldest: m.debts.oldest(),
		Alone: m.alone, Told: m.told, Taken: m.taken, Err: m.err,
	}
	if m.up {
		s.Lag = m.lag
	}
	return s
}
