package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/serve"
)

const (
	patient = `{"resourceType":"Patient","id":"p1-secret","multipleBirthInteger":1.00}`
	search  = `{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"resource":{"resourceType":"Observation","id":"o1-secret","subject":{"reference":"Patient/p1-secret"},"valueQuantity":{"value":1.00}}}]}`
)

func (c *clinic) records() {
	c.ehr.set("Patient/p1-secret", patient)
	c.ehr.set("Observation?patient=Patient/p1-secret&_count=500", search)
}

// The day of a record: read, confirmed, out of reach, killed, back, card out.
func TestDay(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.keys()
	c.uplink("isp-a")
	c.card(c.doctor())
	c.start()
	c.listening()

	body, h := c.read("Patient/p1-secret", 200)
	if body != patient || h.Get("Cache-Status") != "clinicgate; fwd=uri-miss; fwd-status=200; stored" {
		t.Fatalf("first read: %s %v", body, h)
	}
	if body, h = c.read("Patient/p1-secret", 200); body != patient || !strings.Contains(h.Get("Cache-Status"), "fwd-status=304") {
		t.Fatalf("confirmed: %s %v", body, h)
	}
	online, _ := c.read("Observation?patient=p1-secret", 200)
	if !strings.Contains(online, `"value":1.00`) {
		t.Fatalf("search: %s", online)
	}

	c.ehr.down.Store(true)
	if body, h = c.read("Patient/p1-secret", 200); body != patient || h.Get(serve.StaleHeader) == "" || !strings.Contains(h.Get("Cache-Status"), "ttl=-") {
		t.Fatalf("EHR down: %s %v", body, h)
	}
	c.uplink("")
	c.wait("word of no provider", func() bool {
		start, asked := time.Now(), c.ehr.asked.Load()
		_, h := c.read("Patient/p1-secret", 200)
		return strings.Contains(h.Get(serve.StaleHeader), "no internet provider") && c.ehr.asked.Load() == asked && time.Since(start) < time.Second
	})
	if text, _ := c.read("Patient/unseen", 504); !strings.Contains(text, "OperationOutcome") || !strings.Contains(text, "no internet provider") {
		t.Fatalf("unseen: %s", text)
	}

	c.kill()
	c.start()
	c.listening()
	if body, h = c.read("Patient/p1-secret", 200); body != patient || h.Get("Age") == "" || h.Get(serve.StaleHeader) == "" {
		t.Fatalf("after kill -9: %s %v", body, h)
	}
	offline, _ := c.read("Observation?subject=Patient/p1-secret", 200)
	if !strings.Contains(offline, `"value":1.00`) || !strings.Contains(offline, `"mode":"outcome"`) {
		t.Fatalf("search after kill -9: %s", offline)
	}

	c.ehr.down.Store(false)
	c.uplink("isp-b")
	c.wait("a fresh answer", func() bool {
		_, h := c.read("Patient/p1-secret", 200)
		return strings.Contains(h.Get("Cache-Status"), "fwd-status=304")
	})
	c.wait("status", func() bool {
		s := c.status()
		return s.Cache.Resources == 3 && s.Cache.Bytes > 0 && !s.Cache.LastContact.IsZero() && s.Disk.Total > 0 && strings.HasPrefix(s.Keys, "software")
	})

	if m := c.control("/metrics"); !strings.Contains(m, `syncd_ehr_questions_total{end="answered"}`) || !strings.Contains(m, "\nsyncd_cache_answers 3\n") ||
		!strings.Contains(m, "\nsyncd_sessions 1\n") || strings.Contains(m, "secret") {
		t.Errorf("metrics:\n%s", m)
	}
	if s := c.control("/state"); !strings.Contains(s, `"resources":3`) {
		t.Errorf("state: %s", s)
	}

	c.card()
	c.wait("the card's end", func() bool {
		r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:"+c.port+serve.Base+"/Patient/p1-secret", nil)
		c.must(err)
		r.Header.Set("Authorization", "Bearer "+c.token())
		resp, err := c.http.Do(r)
		c.must(err)
		resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized && strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer")
	})
	if log := c.log.String(); strings.Contains(log, "secret") || strings.Contains(log, "unseen") {
		t.Errorf("the log names patients:\n%s", log)
	}
	for _, f := range c.status().Faults {
		if f.Severity == wire.Alarm {
			t.Errorf("alarm at the end of a day: %+v", f)
		}
	}
}

// An EHR that mixes patients: refused, alarmed, not kept.
func TestWrongRecord(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.keys()
	c.card(c.doctor())
	c.start()
	c.listening()
	c.ehr.wrong.Store(true)
	for _, path := range []string{"Patient/p1-secret", "Observation?patient=p1-secret"} {
		if text, _ := c.read(path, http.StatusBadGateway); strings.Contains(text, "p2-secret") {
			t.Fatalf("%s: another patient's record went out: %s", path, text)
		}
	}
	c.wait("alarm", func() bool { return c.fault(faultForeign) })
	c.ehr.down.Store(true)
	c.read("Patient/p1-secret", http.StatusGatewayTimeout)
	if n := c.status().Cache.Resources; n != 0 {
		t.Errorf("%d answers kept", n)
	}
}

// Only devices of the clinic get as far as a request.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.keys()
	c.card(c.doctor())
	c.start()
	c.listening()
	other, err := pki.New(time.Now())
	c.must(err)
	foreign, err := other.Client("workstation", "desk-1")
	c.must(err)
	for name, client := range map[string]*http.Client{
		"no certificate": c.client(),
		"another CA":     c.client(foreign.TLS()),
	} {
		if _, err := client.Get("https://127.0.0.1:" + c.port + serve.Base + "/metadata"); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	old := c.client(c.desk.TLS())
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if _, err := old.Get("https://127.0.0.1:" + c.port + serve.Base + "/metadata"); err == nil {
		t.Error("TLS 1.2 was let in")
	}
	resp, err := c.http.Get("https://127.0.0.1:" + c.port + serve.Base + "/metadata")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("the clinic's own workstation: %v", err)
	}
	resp.Body.Close()
}

// What is missing at the start is said, and taken up when it comes.
func TestFaultsMend(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.start()
	c.wait("word of the missing key pair", func() bool { return c.fault(faultTLS) })
	c.wait("word of the silent cardauth", func() bool { return c.fault(faultCard) })
	c.keys()
	c.listening()
	c.read("Patient/p1-secret", http.StatusUnauthorized)
	c.card(c.doctor())
	c.wait("an end of the faults", func() bool { return !c.fault(faultTLS) && !c.fault(faultCard) })
	c.read("Patient/p1-secret", 200)

	// cardauth dies: what it said last counts no more.
	c.must(os.WriteFile(c.path("run/"+wire.CardFile), []byte(strings.Replace(readFile(t, c.path("run/"+wire.CardFile)),
		`"pid": `+strconv.Itoa(os.Getpid()), `"pid": 4194303`, 1)), 0o640))
	c.wait("word of the dead cardauth", func() bool { return c.fault(faultCard) })
	c.read("Patient/p1-secret", http.StatusUnauthorized)
}

// Stores that can't be opened are a fault, and the program waits for them.
func TestStoresMend(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.keys()
	c.must(os.WriteFile(c.path("secrets/master.key"), []byte("damaged"), 0o600))
	c.start()
	c.wait("word of the damaged key", func() bool { return c.fault(faultStore) })
	c.must(os.Remove(c.path("secrets/master.key")))
	c.listening()
	c.wait("an end of the fault", func() bool { return !c.fault(faultStore) })
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
