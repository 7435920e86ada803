package main

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/trail"
)

// queueRoutes adds what a person may ask of the queue on the control socket.
func (s *state) queueRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /queue/held", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, s.held())
	})
	mux.HandleFunc("POST /queue/{id}/release", s.release)
	mux.HandleFunc("POST /queue/verify", s.verify)
}

// release lets a held upload go on by the name of the person at the console.
func (s *state) release(w http.ResponseWriter, r *http.Request) {
	by := strings.TrimSpace(r.URL.Query().Get("by"))
	if by == "" || len(by) > 64 || strings.ContainsFunc(by, unicode.IsControl) {
		refuse(w, http.StatusBadRequest, "say who releases it: 1 to 64 characters")
		return
	}
	s.letGo(w, r.PathValue("id"), trail.Entry{Who: by, Role: "technician", Device: "console"})
}

// heldBy finds a held upload by the beginning of its number.
func (s *state) heldBy(prefix string) (queue.Brief, error) {
	var found []queue.Brief
	if _, err := hex.DecodeString(prefix + strings.Repeat("0", len(prefix)%2)); err != nil || len(prefix) < 4 {
		return queue.Brief{}, errors.New("want at least 4 digits of the upload's number")
	}
	for _, b := range s.queue.List(queue.Held) {
		if strings.HasPrefix(b.ID.String(), strings.ToLower(prefix)) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return queue.Brief{}, errors.New("no upload of that number is held")
	case 1:
		return found[0], nil
	}
	return queue.Brief{}, errors.New(strconv.Itoa(len(found)) + " held uploads begin so; want more digits")
}

// verify reads the whole queue. It may take minutes.
func (s *state) verify(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines has none to lift
	report, err := s.queue.Verify(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	items := map[string]int{}
	for state, n := range report.Items {
		items[state.String()] = n
	}
	if len(report.Problems) > 0 {
		s.env.Faults.Raise(wire.Fault{
			ID: faultQueue, Severity: wire.Alarm, Where: "queue", What: report.Problems[0],
			Do: "call support before anything else: an upload may be lost on this disk",
		})
	}
	reply(w, http.StatusOK, wire.VerifiedQueue{
		V: 1, Invariant: queue.Invariant, Items: items, Bytes: report.Bytes, Segments: report.Segments,
		Problems: append([]string{}, report.Problems...),
	})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a caller that hung up
}

// refuse answers with one sentence for the person who asked.
func refuse(w http.ResponseWriter, status int, why string) {
	reply(w, status, struct {
		Error string `json:"error"`
	}{cmp.Or(why, http.StatusText(status))})
}
