package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// auditors is a FHIR server that takes AuditEvents.
type auditors struct {
	mu     sync.Mutex
	down   bool
	events map[string]int
}

func (a *auditors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/fhir+json")
	if a.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body, _ := io.ReadAll(r.Body)
	var b struct {
		Entry []struct {
			Resource json.RawMessage
			Request  struct{ URL string }
		}
	}
	if r.Method == http.MethodPost && json.Unmarshal(body, &b) == nil {
		var out []string
		for _, e := range b.Entry {
			a.events[e.Request.URL+"\n"+string(e.Resource)]++
			out = append(out, `{"response":{"status":"201"}}`)
		}
		fmt.Fprintf(w, `{"resourceType":"Bundle","entry":[%s]}`, strings.Join(out, ","))
		return
	}
	for e := range a.events {
		if id, text, _ := strings.Cut(e, "\n"); strings.HasSuffix(r.URL.Path, "/"+id) {
			io.WriteString(w, text)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"resourceType":"OperationOutcome"}`)
}

// Who read what reaches the far side once, through an outage and a kill -9; meanwhile
// the status says that it waits and why.
func TestAuditDelivered(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	far := &auditors{events: map[string]int{}, down: true}
	site := readFile(t, c.path("site/site.toml")) + fmt.Sprintf(
		"[[sync.destination]]\nname = \"cloud\"\nkind = \"fhir\"\nurl = \"%s\"\naccepts = [\"pdf\"]\n[sync.audit]\nto = \"cloud\"\n", httpServer(t, far))
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.uplink("isp-a")
	c.card(c.doctor())
	c.start()
	c.listening()
	for range 3 {
		c.read("Patient/p1-secret", 200)
	}
	c.wait("word that the trail waits", func() bool {
		a := c.status().Audit
		return a != nil && a.Records > 0 && a.Delivered == 0 && !a.Oldest.IsZero() && strings.Contains(a.Reason, "503")
	})
	c.kill()
	c.start()
	c.listening()
	c.read("Patient/p1-secret", 200)
	far.mu.Lock()
	far.down = false
	far.mu.Unlock()
	c.within(time.Minute, "all of it there", func() bool {
		a := c.status().Audit
		return a != nil && a.Records >= 4 && a.Delivered == a.Records && a.Oldest.IsZero() && a.Reason == ""
	})
	var got wire.AuditTrail
	c.must(json.Unmarshal([]byte(c.control("/audit")), &got))
	if got.Audit == nil || got.Audit.To != "cloud" || got.Audit.Chain == "" {
		t.Errorf("gatectl is told %+v", got.Audit)
	}
	far.mu.Lock()
	defer far.mu.Unlock()
	who := 0
	for e, times := range far.events {
		if times != 1 {
			t.Errorf("%d times %s", times, e)
		}
		if strings.Contains(e, `"reference":"Practitioner/d1"`) && strings.Contains(e, `"reference":"Patient/p1-secret"`) {
			who++
		}
	}
	if who != 4 {
		t.Errorf("%d reads of the doctor's are there, want 4: %v", who, far.events)
	}
	if strings.Contains(c.log.String(), "secret") {
		t.Error("the log names patients")
	}
}
