// Package witness brings the trail of accesses to the EHR. Its one guarantee: every
// record of the trail is there once, in order and as it was chained, before it counts
// as delivered; and a record that is there with another content is told.
//
// An entry is one AuditEvent, whose id is its place in the trail. It carries the hash
// of its record and of the one before, and the entry as it was chained, so that
// whoever reads them can check the chain and knows where it ended last.
package witness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/trail"
)

// Trail is what is delivered; *trail.Trail is one.
type Trail interface {
	Next(entries, bytes int) ([]trail.Record, error)
	Delivered(trail.Record) error
	Fork(trail.Record) error
	Chain() string
	Recycle(before time.Time, most int64) (int, error)
}

// Options of a witness. All are required.
type Options struct {
	Trail  Trail
	Client func() (*deliver.Client, error) // made when it can be; a password may be missing
	Away   func(time.Time) string          // why nothing can be sent now, or ""
	Busy   func() bool                     // somebody waits for the line
	Keep   time.Duration                   // what was delivered is kept here for so long
	Bytes  int64                           // and takes so much at most
	Log    *slog.Logger
}

// Witness is the task. Status may be called by anybody.
type Witness struct {
	o      Options
	client *deliver.Client
	sure   bool // what was stored last was not there before, so the next is not there yet
	one    bool // a bundle was refused: record by record
	form   form
	fails  int
	worked time.Time // a segment was looked for last

	mu     sync.Mutex
	status Status
}

// Status is how it goes.
type Status struct {
	Oldest time.Time     // of what waits; zero: nothing does
	Since  time.Time     // of the trouble
	Reason string        // "": no trouble
	Refuse bool          // the EHR answers, and does not take it
	Forked *trail.Record // the last record that the EHR had otherwise
}

// New returns a witness.
func New(o Options) *Witness { return &Witness{o: o} }

// Status says how it goes.
func (w *Witness) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Pace and sizes.
const (
	lookEvery    = 3 * time.Second
	yieldMost    = time.Minute // what waits so long goes although people read
	recycleEvery = time.Hour
	firstPause   = time.Second
	mostPause    = 5 * time.Minute
	maxEntries   = 200 // in one transaction, but of one record
	maxBytes     = 256 << 10
	maxAnswer    = 1 << 20
)

// Run delivers until ctx ends.
func (w *Witness) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(w.Step(ctx, time.Now())):
		}
	}
	return nil
}

// Step delivers the next records, and returns how long to wait before the next.
func (w *Witness) Step(ctx context.Context, now time.Time) time.Duration {
	if now.Sub(w.worked) > recycleEvery {
		w.worked = now
		if n, err := w.o.Trail.Recycle(now.Add(-w.o.Keep), w.o.Bytes); err != nil || n > 0 {
			w.o.Log.Info("recycled the trail's oldest segments", "n", n, "err", err)
		}
	}
	entries, size := maxEntries, maxBytes
	if w.one || !w.sure {
		entries, size = 1, 1
	}
	records, err := w.o.Trail.Next(entries, size)
	if err != nil {
		return w.failed(now, err)
	}
	if len(records) == 0 {
		w.say(func(s *Status) { s.Oldest, s.Reason, s.Refuse = time.Time{}, "", false })
		return lookEvery
	}
	oldest := records[0].Entries[0].When
	w.say(func(s *Status) { s.Oldest = oldest })
	if w.o.Away(now) != "" || w.o.Busy() && now.Sub(oldest) < yieldMost {
		return lookEvery
	}
	if err := w.send(ctx, records); err != nil {
		if ctx.Err() != nil {
			return 0
		}
		return w.failed(now, err)
	}
	w.fails, w.one, w.form = 0, false, full
	w.say(func(s *Status) { s.Reason, s.Refuse = "", false })
	return 0
}

func (w *Witness) say(what func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what(&w.status)
}

// failed decides what comes after a failure. What is refused goes by itself, then
// without references; what is refused even so is tried again and never passed over:
// a gap would look like a record that somebody took out.
func (w *Witness) failed(now time.Time, err error) time.Duration {
	w.sure = false
	var f *deliver.Failure
	if !errors.As(err, &f) {
		f = &deliver.Failure{Kind: deliver.Troubled, Reason: err.Error()}
	}
	if f.Kind == deliver.Refused && (!w.one || w.form == full) {
		if w.one {
			w.form = plain
		}
		w.one = true
		return 0
	}
	w.fails++
	w.say(func(s *Status) {
		if s.Reason == "" {
			s.Since = now
		}
		s.Reason, s.Refuse = err.Error(), f.Kind == deliver.Refused || f.Kind == deliver.Refusing
	})
	w.one, w.form = false, full
	return max(f.After, lane.Pause(firstPause, mostPause, w.fails, rand.Float64()))
}

// send brings records there and has it confirmed.
//
//	read the last of them           only after a start or a failure: there, and the same: delivered
//	transaction of PUTs             no answer: the next attempt reads
//	read the last of them again     there, and the same: delivered
//
// They go in order and all or none, and each holds the hash of the one before: so the
// last one being there says that all are.
func (w *Witness) send(ctx context.Context, records []trail.Record) error {
	if w.client == nil {
		c, err := w.o.Client()
		if err != nil {
			return &deliver.Failure{Kind: deliver.Refusing, Reason: err.Error()}
		}
		w.client = c
	}
	chain, last := w.o.Trail.Chain(), records[len(records)-1]
	if !w.sure {
		switch there, err := w.there(ctx, chain, last); {
		case err != nil:
			return err
		case there == last.Hash.String():
			return w.o.Trail.Delivered(last) // what comes next may be there, too
		case there != "":
			return w.forked(last)
		}
	}
	body, n, err := bundle(chain, records, w.form)
	if err != nil {
		return deliver.Refuse("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(int64(len(body))))
	defer cancel()
	w.sure = false
	if err := w.store(ctx, body, n); err != nil {
		return err
	}
	there, err := w.there(ctx, chain, last)
	switch {
	case err != nil:
		return err
	case there != last.Hash.String():
		return &deliver.Failure{Kind: deliver.Refusing, Reason: "stored, says the EHR, and doesn't have it as it was sent"}
	}
	if err := w.o.Trail.Delivered(last); err != nil {
		return err
	}
	w.sure = true
	return nil
}

// forked goes on under another name: another record of that number is there, and it
// is not ours to change.
func (w *Witness) forked(r trail.Record) error {
	w.say(func(s *Status) { s.Forked = &r })
	w.o.Log.Error("the EHR has another record under a number of the trail", "number", r.Number)
	return w.o.Trail.Fork(r)
}

// there asks for a record's last AuditEvent: the record's hash in it, "" when there is
// none, "?" when it says nothing of the chain.
func (w *Witness) there(ctx context.Context, chain string, r trail.Record) (hash string, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(0))
	defer cancel()
	resp, err := w.client.Do(ctx, deliver.Request{
		Method: "GET", Path: "/AuditEvent/" + id(chain, r, len(r.Entries)-1), Header: map[string]string{"Accept": "application/fhir+json"},
	})
	if err != nil {
		return "", err
	}
	defer deliver.Discard(resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", &deliver.Failure{Kind: deliver.Unreachable, Reason: "its answer broke off", Err: err}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if hash := hashIn(body, chain); hash != "" {
			return hash, nil
		}
		return "?", nil
	case http.StatusNotFound:
		var o struct{ ResourceType string }
		if json.Unmarshal(body, &o) != nil || o.ResourceType != "OperationOutcome" {
			return "", &deliver.Failure{Kind: deliver.Refusing, Reason: "answers 404 without an OperationOutcome: no FHIR server is there"}
		}
		return "", nil
	}
	err = deliver.Status(resp)
	var f *deliver.Failure
	if errors.As(err, &f) && f.Kind == deliver.Refused {
		f.Kind = deliver.Refusing // a question is not a record
	}
	return "", err
}

// store sends the transaction.
func (w *Witness) store(ctx context.Context, body []byte, want int) error {
	resp, err := w.client.Do(ctx, deliver.Request{
		Method: "POST", Body: bytes.NewReader(body), Size: int64(len(body)),
		Header: map[string]string{"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"},
	})
	if err != nil {
		return err
	}
	defer deliver.Discard(resp)
	if resp.StatusCode == http.StatusPreconditionFailed {
		return &deliver.Failure{Kind: deliver.Troubled, Reason: "some of it is there already"} // the next attempt finds it
	}
	if resp.StatusCode != http.StatusOK {
		return deliver.Status(resp)
	}
	var b struct {
		ResourceType string
		Entry        []struct{ Response struct{ Status string } }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 2*int64(len(body))+maxAnswer)).Decode(&b); err != nil || b.ResourceType != "Bundle" || len(b.Entry) != want {
		return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers a transaction of %d with something else", want), Err: err}
	}
	for i, e := range b.Entry {
		if !strings.HasPrefix(e.Response.Status, "20") {
			return deliver.Refuse("entry %d of the transaction was answered %.40q", i, e.Response.Status)
		}
	}
	return nil
}
