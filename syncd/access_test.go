package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// A killed cardauth can't take its sessions out of its file; they end with it.
func TestAttackKilledCardauth(t *testing.T) {
	t.Parallel()
	c := ready(t)
	cardauth := exec.Command("sleep", "1000")
	c.must(cardauth.Start())
	c.cardauth(&wire.Card{Header: wire.Header{V: 1, PID: cardauth.Process.Pid}, Sessions: []wire.Session{c.doctor()}})
	c.wait("the session", func() bool { return c.allowed("Patient/p1-secret") })
	c.must(cardauth.Process.Kill())
	_ = cardauth.Wait()
	c.wait("the refusal", func() bool { return !c.allowed("Patient/p1-secret") })
}

// The end of cardauth is told to us, not looked for: here nobody looks.
func TestAttackKilledCardauthUnwatched(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	s := &state{env: &daemon.Env{Run: t.TempDir(), Log: log, Faults: daemon.NewFaults(log)}}
	cardauth := exec.Command("sleep", "1000")
	if err := cardauth.Start(); err != nil {
		t.Fatal(err)
	}
	s.setCard(&wire.Card{Header: wire.Header{V: 1, PID: cardauth.Process.Pid}})
	if s.live() == nil {
		t.Error("nothing is believed while it lives")
	}
	_ = cardauth.Process.Kill()
	_ = cardauth.Wait()
	for range 3000 {
		if s.live() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("what a dead cardauth said is believed")
}

// One that hangs, with a card pulled out meanwhile, is believed for its lease.
func TestAttackHungCardauth(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var now unix.Timespec
	c.must(unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	c.cardauth(&wire.Card{Header: wire.Header{V: 1, PID: os.Getpid()}, Sessions: []wire.Session{c.doctor()}, LeaseMS: now.Nano()/1e6 + 3000})
	c.wait("the session", func() bool { return c.allowed("Patient/p1-secret") })
	time.Sleep(3 * time.Second)
	c.read("Patient/p1-secret", 401)
	c.wait("the fault", func() bool { return c.fault("sync.cardauth-silent") })
}

// The doctor's card leaves while something is handed in: it is not taken, and that
// is on record; nor is what comes right behind the removal.
func TestAttackRemovalDuringWrite(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	site := readFile(t, c.path("site/site.toml")) + "[sync.uploads]\ndevices = []\n[[sync.destination]]\nname = \"ehr\"\nkind = \"fhir\"\nurl = \"http://127.0.0.1:9/fhir\"\naccepts = [\"pdf\"]\n"
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.card(c.doctor())
	c.start()
	c.listening()
	pdf := []byte("%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\nstartxref\n9\n%%EOF\n")
	post := func(body io.Reader) int {
		r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:"+c.port+"/uploads", body)
		c.must(err)
		r.ContentLength = int64(len(pdf))
		r.Header.Set("Authorization", "Bearer "+c.token())
		resp, err := c.http.Do(r)
		c.must(err)
		resp.Body.Close()
		return resp.StatusCode
	}
	c.wait("an upload", func() bool { return post(bytes.NewReader(pdf)) == http.StatusCreated })
	time.Sleep(1100 * time.Millisecond)
	before := c.status().Lanes

	half, more := io.Pipe()
	go func() {
		_, _ = more.Write(pdf[:10])
		time.Sleep(300 * time.Millisecond)
		c.card() // out
		for c.status().Published.IsZero() || c.allowed("Patient/x") {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		_, _ = more.Write(pdf[10:])
		more.Close()
	}()
	if got := post(half); got != http.StatusUnauthorized {
		t.Errorf("an upload whose doctor left: %d, want 401", got)
	}
	time.Sleep(10 * time.Millisecond)
	if got := post(bytes.NewReader(pdf)); got != http.StatusUnauthorized {
		t.Errorf("an upload behind the removal: %d, want 401", got)
	}
	time.Sleep(1100 * time.Millisecond) // the report's period
	if after := c.status().Lanes; !slices.Equal(before, after) {
		t.Errorf("the queue has more than before: %+v, %+v", before, after)
	}
}

// A patient reads the own record and nobody else's; what a patient says about who
// sees it holds against a doctor, until the glass is broken.
func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	c := ready(t)
	key := bytes.Repeat([]byte{3}, wire.PatientKeySize)
	c.must(os.WriteFile(c.path("run/"+wire.PatientKeyFile), key, 0o640))
	c.ehr.set("Patient/ana", `{"resourceType":"Patient","id":"ana","identifier":[{"system":"urn:oid:1","value":"1001"}]}`)
	c.ehr.set("Patient/luis", `{"resourceType":"Patient","id":"luis","identifier":[{"value":"1002"}]}`)
	c.ehr.set("Observation/of-luis", `{"resourceType":"Observation","id":"of-luis","subject":{"reference":"Patient/luis"}}`)
	c.ehr.set("Observation/of-ana", `{"resourceType":"Observation","id":"of-ana","subject":{"reference":"Patient/ana"}}`)
	ana := wire.Pseudonym(key, "1001")
	patient := wire.Session{ID: "p1", Role: wire.RolePatient, Subject: "patient:" + ana, Patient: ana, PIN: true, Room: "r1", CertHash: c.hash()}
	card := func(change func(*wire.Card)) {
		w := &wire.Card{Header: wire.Header{V: 1, PID: os.Getpid()}, Sessions: []wire.Session{c.doctor(), patient}}
		change(w)
		c.cardauth(w)
	}
	card(func(*wire.Card) {})
	c.wait("the sessions", func() bool { return c.allowed("Patient/ana") })

	own := c.tokenOf(patient, "patient/*.rs")
	c.readWith(own, "Patient/ana", 200)
	c.readWith(own, "Observation/of-ana", 200)
	c.readWith(own, "Patient/luis", 403)
	c.readWith(own, "Observation/of-luis", 403)
	c.readWith(own, "Observation?patient=luis", 403)

	only := wire.Consent{Patient: ana, Only: true, Who: []string{"Practitioner/other"}}
	card(func(w *wire.Card) { w.Consents = []wire.Consent{only} })
	c.wait("the narrowing", func() bool { return !c.allowed("Patient/ana") })
	c.read("Observation/of-ana", 403)
	c.read("Patient/luis", 200)
	c.readWith(own, "Patient/ana", 200)

	card(func(w *wire.Card) {
		w.Consents = []wire.Consent{only}
		w.Care = []wire.Care{{ID: "c-1", Session: "s1", Patient: ana, Basis: wire.CareEmergency}}
	})
	c.wait("the emergency", func() bool { return c.allowed("Patient/ana") })
	c.read("Observation/of-ana", 200)
}
