package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/cardauth/audit"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/spool"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
)

// Faults of the trace.
const (
	faultAudit   = "card.audit"
	faultDamaged = "card.audit-damaged"
)

// A recorder makes events durable in the order they happened. Whoever waits for
// one is told when it is on disk; the ends of sessions, for which nobody waits,
// are tried until they are.
type recorder struct {
	env     *daemon.Env
	site    string
	spool   *spool.Spool
	metrics metric.Set

	mu    sync.Mutex
	queue []job
	more  chan struct{}
	stop  chan struct{}
	done  chan struct{}    // closed behind the last
	lost  map[string]error // sessions whose beginning could not be kept
}

// A job is one record, or none for whoever waits for those before it.
type job struct {
	rec  spool.Record
	done chan error // nil: nobody waits
	none bool
}

// openRecorder opens the spool and says of sessions that a stop ended without a
// word that they are over.
func openRecorder(env *daemon.Env, site string) (*recorder, error) {
	key, err := auditKey(filepath.Join(env.Secrets, "audit.key"))
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(env.State, 0o700); err != nil {
		return nil, err
	}
	s, err := spool.Open(filepath.Join(env.State, "audit.spool"), key)
	if errors.Is(err, spool.ErrDamaged) && s != nil {
		env.Faults.Raise(wire.Fault{
			ID: faultDamaged, Severity: wire.Alarm, Where: "audit spool", What: err.Error(),
			Do: "call support: what happened at the readers before the last start may be missing from the trail; the file is kept beside as audit.spool.damaged",
		})
		err = nil
	}
	if err != nil {
		return nil, err
	}
	r := &recorder{env: env, site: site, spool: s, more: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), lost: map[string]error{}}
	go r.run()
	for _, u := range s.Unfinished() {
		var e audit.Event
		if err := json.Unmarshal(u.Note, &e); err != nil {
			env.Log.Error("a session of the last run", "sid", u.Begins, "err", err)
		}
		e.Kind, e.At, e.Why, e.Session = audit.Ended, time.Now(), "cardauth was stopped without a word", u.Begins
		r.add(e, spool.Record{Ends: u.Begins}, nil)
	}
	return r, nil
}

// auditKey reads the spool's key, or makes it: no event was sealed with it yet.
func auditKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, spool.KeySize)
		rand.Read(key)
		err = durable.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the audit spool: %w", err)
	}
	return key, nil
}

// happened takes in what the sessions did; it does not block.
func (r *recorder) happened(events []session.Event) {
	count(&r.metrics, events)
	for _, e := range events {
		r.add(eventOf(e), recordOf(e), nil)
	}
}

// eventOf is a session's or care's beginning or end.
func eventOf(e session.Event) audit.Event {
	s := e.Session
	out := audit.Event{
		Kind: audit.Login, At: time.Now(), Session: s.ID, Who: s.Subject, Role: s.Role, Room: s.Room, Reader: s.Reader,
		Device: s.Device, Why: string(e.Ended),
	}
	if s.Patient != "" {
		out.Who, out.Patient = "", s.Number
	}
	switch {
	case e.Care != nil:
		out.Kind, out.Patient = audit.Cares, e.Care.Number
		if e.Ended != "" {
			out.Kind = audit.CareEnded
		} else {
			out.Why = string(e.Care.Basis)
		}
	case e.Ended != "":
		out.Kind = audit.Ended
	case !s.PIN:
		out.Kind = audit.Present
	}
	return out
}

// recordOf remembers a session's beginning until its end.
func recordOf(e session.Event) spool.Record {
	switch {
	case e.Care != nil:
		return spool.Record{}
	case e.Ended != "":
		return spool.Record{Ends: e.Session.ID}
	}
	note, _ := json.Marshal(eventOf(e)) // of strings: it can't fail
	return spool.Record{Begins: e.Session.ID, Note: note}
}

// record makes an event durable. After an error what it tells of must not happen.
func (r *recorder) record(e audit.Event) error {
	done := make(chan error, 1)
	r.add(e, spool.Record{}, done)
	return <-done
}

// kept waits until all that happened so far is on disk, and says whether the
// beginning of that session is.
func (r *recorder) kept(sid string) error {
	done := make(chan error, 1)
	r.put(job{none: true, done: done})
	err := <-done
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost := r.lost[sid]; lost != nil {
		delete(r.lost, sid)
		return lost
	}
	return err
}

func (r *recorder) add(e audit.Event, rec spool.Record, done chan error) {
	text, err := e.FHIR(r.site)
	if err != nil {
		r.env.Log.Error("audit", "err", err)
		if done != nil {
			done <- err
		}
		return
	}
	rec.Event = text
	r.put(job{rec: rec, done: done})
}

func (r *recorder) put(j job) {
	r.mu.Lock()
	r.queue = append(r.queue, j)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// run writes until close, from the first moment on: what is taken in before the
// daemon's tasks start is on record too.
func (r *recorder) run() {
	defer close(r.done)
	for {
		r.drain()
		again := time.After(retry)
		r.mu.Lock()
		if len(r.queue) == 0 {
			again = nil
		}
		r.mu.Unlock()
		select {
		case <-r.stop:
			return
		case <-r.more:
		case <-again:
		}
	}
}

// drain writes what waits, up to the first end of a session that can't be.
func (r *recorder) drain() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.mu.Unlock()
			return
		}
		j := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		if r.write(j) {
			continue
		}
		r.mu.Lock()
		r.queue = append([]job{j}, r.queue...)
		var rest []job // whoever waits is not kept waiting for a full disk
		for _, w := range r.queue {
			if w.done != nil {
				w.done <- errNotKept
			} else {
				rest = append(rest, w)
			}
		}
		r.queue = rest
		r.mu.Unlock()
		return
	}
}

var errNotKept = errors.New("what happened can't be kept on disk")

// write makes one job durable and reports that it is dealt with.
func (r *recorder) write(j job) bool {
	var err error
	if !j.none {
		_, err = r.spool.Append(j.rec)
		r.fault(err)
	}
	if j.done != nil {
		j.done <- err
		return true
	}
	if err != nil && j.rec.Begins != "" {
		r.mu.Lock()
		r.lost[j.rec.Begins] = err
		r.mu.Unlock()
		return true
	}
	return err == nil
}

func (r *recorder) fault(err error) {
	if err == nil {
		r.env.Faults.Clear(faultAudit, "audit spool")
		return
	}
	r.env.Faults.Raise(wire.Fault{
		ID: faultAudit, Severity: wire.Alarm, Where: "audit spool", What: err.Error(),
		Do: "nobody new can log in, as it could not be recorded; see that syncd runs and the disk has room",
	})
}

// close writes what is left and closes the spool.
func (r *recorder) close() {
	close(r.stop)
	<-r.done
	r.drain()
	r.spool.Close()
}
