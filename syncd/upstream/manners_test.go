package upstream

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/syncd/fhir"
)

// A server that is away for a moment is asked once more, and not for ever; one that
// says how long it needs is not asked again before.
func TestBusy(t *testing.T) {
	var asked atomic.Int32
	short := calm(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fhirJSON(w, 200, patient)
	})
	if _, _, err := short.Ask(t.Context(), p1, ""); err != nil || asked.Load() != 2 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}

	asked.Store(0)
	long := calm(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, _, err := long.Ask(t.Context(), p1, "")
	if !errors.Is(err, fhir.ErrUnreachable) || asked.Load() != 1 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
	if why := long.Down(time.Now().Add(29 * time.Second)); !strings.Contains(why, "503") {
		t.Errorf("asked again before it wishes: %q", why)
	}
	if why := long.Down(time.Now().Add(2 * restMost)); why != "" {
		t.Errorf("never asked again: %q", why)
	}
}

// calm is a server, and a client that has time.
func calm(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return client(t, srv.URL+"/fhir/R4", time.Minute)
}

func TestPause(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		d := pause(errors.New("cut"))
		if d < rest/2 || d > 2*rest {
			t.Errorf("rests %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 2 {
		t.Error("boxes that failed together come back together")
	}
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "99999": restMost, "-1": 0, "Sun, 06 Nov 1994 08:49:37 GMT": 0} {
		if got := later(&http.Response{Header: http.Header{"Retry-After": {header}}}).after; got != want {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	}
}

// What nobody waits for takes a part of the room.
func TestAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://ehr/fhir/R4", time.Hour)
		release := make(chan struct{})
		var now, most, people atomic.Int32
		in := roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, "/fhir/R4/Patient/") {
				people.Add(1)
			} else {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
			}
			<-release
			return nil, errors.New("cut")
		})
		c.Through(func(*http.Transport) http.RoundTripper { return in })
		var all sync.WaitGroup
		for i := range 3 * maxAside {
			all.Go(func() {
				c.Aside().Ask(t.Context(), fhir.Ref{Type: "Observation", ID: string(rune('a' + i))}, "")
			})
		}
		all.Go(func() { c.Ask(t.Context(), p1, "") })
		synctest.Wait()
		if most.Load() != maxAside || people.Load() != 1 {
			t.Errorf("%d aside at a time, want %d; %d of people, want 1", most.Load(), maxAside, people.Load())
		}
		close(release)
		all.Wait()
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
