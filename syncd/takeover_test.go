package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"clinicgate/syncd/trail"
	"clinicgate/syncd/vault"
)

// readers is cardauth's control socket: it offers events until acknowledged, and
// may lose the acknowledgement.
type readers struct {
	mu    sync.Mutex
	epoch string
	from  int // lowest number not acknowledged
	to    int // behind the highest
	deaf  bool
	acks  int
}

func (r *readers) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Method == http.MethodPost {
		r.acks++
		n, err := strconv.Atoi(q.FormValue("through"))
		if err != nil || r.deaf || q.FormValue("epoch") != r.epoch {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		r.from = n + 1
		return
	}
	records := []map[string]any{}
	for n := r.from; n < min(r.to, r.from+3); n++ {
		records = append(records, map[string]any{"n": n, "event": map[string]any{"resourceType": "AuditEvent", "id": strconv.Itoa(n)}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"epoch": r.epoch, "records": records})
}

// Events of the readers come into the trail once, whatever is lost on the way and
// whoever is killed.
func TestTakeOverExactlyOnce(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.keys()
	c.card(c.doctor())
	r := &readers{epoch: "e1", from: 1, to: 8, deaf: true}
	l, err := net.Listen("unix", c.path("run/cardauth.sock"))
	c.must(err)
	srv := httptest.NewUnstartedServer(r)
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	c.start()
	c.listening()
	c.wait("a lost acknowledgement", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.acks > 1 })
	c.kill()
	r.mu.Lock()
	r.deaf = false
	r.mu.Unlock()
	c.start()
	c.listening()
	c.wait("all", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.from == 8 })
	r.mu.Lock()
	r.epoch, r.from, r.to = "e2", 1, 3
	r.mu.Unlock()
	c.wait("those of another epoch", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.from == 3 })
	c.kill()

	v, err := vault.Open(c.path("secrets"))
	c.must(err)
	var got []string
	tr, err := trail.Open(c.path("state/trail"), v.Domain("audit"))
	c.must(err)
	defer tr.Close()
	c.must(tr.Walk(func(e trail.Entry) {
		if e.Epoch != "" {
			got = append(got, fmt.Sprintf("%s-%d", e.Epoch, e.Number))
		}
	}))
	if want := "[e1-1 e1-2 e1-3 e1-4 e1-5 e1-6 e1-7 e2-1 e2-2]"; fmt.Sprint(got) != want {
		t.Errorf("the trail has %v, want %s", got, want)
	}
}
