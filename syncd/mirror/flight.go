package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"clinicgate/syncd/mirror/census"
	"clinicgate/syncd/queue"
)

// settle is how long what a box sent may be on its way after the box is gone or has
// broken off: its connections are dead, but the destination may still be taking in what
// had come. Until then asking the destination proves nothing.
const settle = 5 * time.Second

// noting is how long an attempt waits until the other box knows of it.
const noting = time.Second

// errSettle keeps an item from being sent beside the other box's last attempt.
var errSettle = errors.New("what the other box was sending may not have settled yet")

// Begin tells the other box that an attempt begins here. The error is about an
// attempt of the other box's: that was lost or broken off during it, a moment ago.
func (m *Mirror) Begin(ctx context.Context, id queue.ID) error {
	name, ok := m.queue.NameOf(id)
	if !ok {
		return nil
	}
	if up, err := m.settled(name); err != nil || !up {
		return err
	}
	text, err := json.Marshal(begun{Name: name})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, noting)
	defer cancel()
	// A box that can't be told is as good as gone, and takes over without knowing; it
	// asks the destination all the same.
	_, _ = m.post(ctx, "/begun", bytes.NewReader(text), int64(len(text)))
	if err := ctx.Err(); err != nil {
		return err
	}
	// Both may have begun at once, while they still agree about whose turn it is. Each
	// has told before it looks again, so at least one sees the other and stays away.
	_, err = m.settled(name)
	return err
}

// settled returns an error when an attempt of the other box's may be on its way yet.
func (m *Mirror) settled(name queue.Name) (up bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flights.unsettled(census.Name(name), time.Now(), m.up) {
		return m.up, errSettle
	}
	return m.up, nil
}

// begun is the note of an attempt.
type begun struct {
	Name queue.Name `json:"name"`
}

func (m *Mirror) takeBegun(w http.ResponseWriter, r *http.Request) {
	var b begun
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&b); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flights.note(census.Name(b.Name), time.Now())
}

// flights are the attempts that the other box began. That one ended is not told:
// it only makes a box more careful for a moment. mu of the Mirror guards them.
type flights struct {
	of    map[census.Name]time.Time
	heard time.Time // the other box, in any way
	flew  time.Time // when it last said that attempts were under way
}

// hear notes a sign of life of the other box, with how many attempts it has under way.
func (f *flights) hear(under int, now time.Time) {
	f.heard = now
	if under > 0 {
		f.flew = now
	}
}

// maxFlights bounds what is remembered; more than any box has under way.
const maxFlights = 1024

func (f *flights) note(name census.Name, now time.Time) {
	if len(f.of) >= maxFlights {
		for n, at := range f.of {
			if now.Sub(at) > settle {
				delete(f.of, n)
			}
		}
	}
	if len(f.of) >= maxFlights {
		return
	}
	f.of[name] = now
}

// unsettled reports that the other box's attempt may be on its way yet: since it began
// or since attempts of that box were last under way, settle has not passed; nor, where
// the box is lost, since it was last heard, for it may have sent until then.
func (f *flights) unsettled(name census.Name, now time.Time, up bool) bool {
	last, ok := f.of[name]
	if !ok {
		return false
	}
	if f.flew.After(last) {
		last = f.flew
	}
	if !up && f.heard.After(last) {
		last = f.heard
	}
	if now.Sub(last) < settle {
		return true
	}
	delete(f.of, name)
	return false
}
