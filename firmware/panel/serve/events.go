package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"clinicgate/firmware/panel/phrase"
)

// An event stream (WHATWG HTML, server-sent events).
const (
	look        = time.Second
	beat        = 10 * time.Second // the page takes 25 s of silence for a lost gateway
	writeWithin = 10 * time.Second
)

// events sends the parts that change, for as long as the browser listens.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) int {
	l, ok := phrase.Find(r.URL.Query().Get("lang"))
	if !ok {
		l = lang(r)
	}
	end, ok := h.limit.stream(who(r.RemoteAddr))
	if !ok {
		w.Header().Set("Retry-After", "5")
		return h.refuse(w, r, http.StatusServiceUnavailable, "error.slow")
	}
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	s := stream{w: w, rc: http.NewResponseController(w), said: map[string]Part{}}
	if r.URL.Query().Get("page") != h.Pages.version {
		_ = s.send("reload", nil)
		return http.StatusOK
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		_, parts, err := h.now(l)
		if err == nil {
			err = s.tell(parts)
		}
		if err != nil {
			return http.StatusOK // the browser left, most likely; it comes again if not
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return http.StatusOK
		case <-h.Ended.Done():
			return http.StatusOK
		}
	}
}

// A stream is one browser that listens.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	said map[string]Part
	at   time.Time // of the last event
}

// tell sends the parts that are others than those sent, or a beat now and then.
func (s *stream) tell(parts []Part) error {
	changed := map[string]string{}
	for _, p := range parts {
		if s.said[p.ID] != p {
			changed[p.ID], s.said[p.ID] = string(p.HTML), p
		}
	}
	switch {
	case len(changed) > 0:
		return s.send("parts", changed)
	case time.Since(s.at) >= beat:
		return s.send("beat", nil)
	}
	return nil
}

func (s *stream) send(event string, v any) error {
	data, err := json.Marshal(v) // has no line ends
	if err != nil {
		return err
	}
	s.at = time.Now()
	_ = s.rc.SetWriteDeadline(s.at.Add(writeWithin)) // not every writer can
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, data); err != nil {
		return err
	}
	return s.rc.Flush()
}
