package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/serve"
)

// caring logs the doctor in with a patient's card in the room.
func (c *clinic) caring(number string) {
	c.t.Helper()
	key := bytes.Repeat([]byte{3}, wire.PatientKeySize)
	c.must(os.WriteFile(c.path("run/"+wire.PatientKeyFile), key, 0o640))
	c.cardauth(&wire.Card{
		Header: wire.Header{V: 1, PID: os.Getpid()}, Sessions: []wire.Session{c.doctor()},
		Care: []wire.Care{{ID: "c-1", Session: "s1", Patient: wire.Pseudonym(key, number), Basis: wire.CarePresent}},
	})
}

// handIn posts to the FHIR endpoint as the doctor.
func (c *clinic) handIn(path, body string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:"+c.port+serve.Base+path, strings.NewReader(body))
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+c.token())
	r.Header.Set("Content-Type", "application/fhir+json")
	resp, err := c.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	c.must(err)
	return resp, string(text)
}

const message = `{"resourceType":"Communication","status":"completed","subject":{"reference":"Patient/p1-secret"},"payload":[{"contentString":"secret"}]}`

// A doctor hands in a message; the box is killed right behind the answer; the
// message waits, once. Another patient's is refused in FHIR's terms.
func TestHandedInOutlivesAKill(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.ways("[sync.uploads]")
	site := strings.Replace(readFile(t, c.path("site/site.toml")), `"hl7v2"]`, `"hl7v2", "fhir"]`, 1)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.ehr.set("Patient/p1-secret", `{"resourceType":"Patient","id":"p1-secret","identifier":[{"value":"1001"}]}`)
	c.ehr.set("Patient/p2-secret", `{"resourceType":"Patient","id":"p2-secret","identifier":[{"value":"1002"}]}`)
	c.caring("1001")
	c.start()
	c.listening()
	c.wait("the session", func() bool { return c.allowed("Patient/p1-secret") })
	resp, text := c.handIn("/Communication", message)
	place := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusAccepted || place == "" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	c.kill()
	c.must(os.Remove(c.path("run/" + wire.SyncFile)))
	c.start()
	c.listening()
	c.wait("the message in the queue", func() bool { return c.waiting() == 1 })
	c.wait("the session", func() bool { return c.allowed("Patient/p1-secret") })
	if resp, _ = c.handIn("/Communication", message); resp.Header.Get("Location") != place {
		t.Errorf("again it is at %q, not at %q", resp.Header.Get("Location"), place)
	}
	for name, body := range map[string]string{
		"another patient's": strings.Replace(message, "p1", "p2", 1),
		"nobody's":          strings.Replace(message, "p1", "p3", 1),
		"malformed":         message[1:],
	} {
		if resp, text = c.handIn("/Communication", body); resp.StatusCode/100 != 4 || !strings.Contains(text, "OperationOutcome") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, text)
		}
	}
	c.wait("one item", func() bool { return c.waiting() == 1 })
	if log := c.log.String(); strings.Contains(log, "secret") {
		t.Errorf("the log names patients:\n%s", log)
	}
}
