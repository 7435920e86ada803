package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
)

// asWho sends a request without a body as whom a token was made for.
func (c *clinic) asWho(token, method, path string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequest(method, "https://127.0.0.1:"+c.port+path, nil)
	c.must(err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	c.must(err)
	return resp.StatusCode, string(text)
}

// A doctor sees what is held, without the patient, and lets it go on by a live card
// session; nobody else does.
func TestDoctorReleases(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.ways("[sync.uploads]")
	c.keys()
	c.ehr.set("Patient?identifier=4711-secret&_count=500", `{"resourceType":"Bundle","type":"searchset","total":0}`)
	nurse := wire.Session{ID: "s2", Role: wire.RoleNurse, Subject: "Practitioner/n1", Room: "r1", CertHash: c.hash()}
	c.card(c.doctor(), nurse)
	c.start()
	c.listening()
	pdf := []byte("%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\nstartxref\n9\n%%EOF\n")
	stated := "patient-id " + base64.StdEncoding.EncodeToString([]byte("4711-secret"))
	c.wait("the upload", func() bool {
		return c.tus("POST", "/uploads", pdf, "Upload-Metadata", stated).StatusCode == http.StatusCreated
	})
	var held wire.HeldUploads
	c.wait("it held", func() bool {
		status, text := c.asWho(c.token(), "GET", heldPath)
		return status == http.StatusOK && json.Unmarshal([]byte(text), &held) == nil && len(held.Items) == 1
	})
	if one := held.Items[0]; !strings.HasSuffix(one.Why, "no-such-patient") || one.Kind != "pdf" || one.Origin != "desk-1" {
		t.Errorf("held: %+v", one)
	}
	release := heldPath + "/" + held.Items[0].ID + "/release"
	for name, token := range map[string]string{"nobody": "", "a nurse": c.tokenOf(nurse, ""), "a session that is over": c.tokenOf(wire.Session{ID: "s9", Role: wire.RoleDoctor, Subject: "Practitioner/d1"}, "user/*.rs")} {
		if status, text := c.asWho(token, "POST", release); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s released it: %d %s", name, status, text)
		}
		if status, _ := c.asWho(token, "GET", heldPath); status == http.StatusOK {
			t.Errorf("%s saw it", name)
		}
	}
	if status, text := c.asWho(c.token(), "POST", heldPath+"/ffff/release"); status != http.StatusNotFound {
		t.Errorf("another: %d %s", status, text)
	}
	c.card() // the doctor's card leaves
	c.wait("the session's end", func() bool {
		status, _ := c.asWho(c.token(), "GET", heldPath)
		return status == http.StatusUnauthorized
	})
	if status, _ := c.asWho(c.token(), "POST", release); status != http.StatusUnauthorized {
		t.Errorf("released without a card: %d", status)
	}
	c.card(c.doctor())
	c.wait("the session", func() bool { status, _ := c.asWho(c.token(), "GET", heldPath); return status == http.StatusOK })
	if status, text := c.asWho(c.token(), "POST", release); status != http.StatusOK {
		t.Fatalf("release: %d %s", status, text)
	}
	c.wait("it on its way", func() bool { return c.waiting() == 1 && c.status().Held == 0 })
	if log := c.log.String(); strings.Contains(log, "secret") {
		t.Errorf("the log names the patient:\n%s", log)
	}
}
