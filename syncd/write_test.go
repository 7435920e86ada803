package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/serve"
)

// What a client's writing came to.
type written struct {
	Status, ID, Gone, Report, Result, Systolic string
	Same, Pending                              bool
	Clash, HiddenRead, Value                   int
	Found                                      []string
}

// A stock FHIR client writes to an EHR nobody here wrote, through the gateway: with care
// only; the same with the EHR gone, which has everything once when it is back.
func TestStockClientWrites(t *testing.T) {
	lab.Require(t, lab.Program("node"), fhirClientsThere)
	t.Parallel()
	c := newClinic(t)
	ehrBase, control, _ := medplum(c)
	apps := freePort(t)
	site := strings.Replace(readFile(t, c.path("site/site.toml")), c.ehr.srv.URL+"/fhir/R4", ehrBase, 1)
	site = strings.Replace(site, "timeout = \"1500ms\"", "timeout = \"20s\"", 1)
	c.must(os.WriteFile(c.path("site/site.toml"), fmt.Appendf(nil, "%s[sync.apps]\nlisten = \"127.0.0.1:%s\"\nbase = \"https://127.0.0.1:%s\"\n", site, apps, apps), 0o644))
	c.keys()
	key := bytes.Repeat([]byte{3}, wire.PatientKeySize)
	c.must(os.WriteFile(c.path("run/"+wire.PatientKeyFile), key, 0o640))
	patient, _ := synthea(c, control, "Dickinson688")
	s := c.doctor()
	s.Keys = []string{wire.BoundAddr + "127.0.0.1"}
	c.card(s)
	c.start()
	c.listening()

	dir := t.TempDir()
	c.must(os.WriteFile(filepath.Join(dir, "write.mjs"), []byte(readFile(t, "testdata/clients/write.mjs")), 0o644))
	modules, err := filepath.Abs(clientModules)
	c.must(err)
	c.must(os.Symlink(modules, filepath.Join(dir, "node_modules")))
	write := func(word string) (d written, said string, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", filepath.Join(dir, "write.mjs"), "https://127.0.0.1:"+apps+serve.Base, c.addrToken(s), patient, word)
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+c.path("site/anchors/devices.pem"))
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &d)
		}
		return d, errs.String(), err
	}
	if _, said, err := write("careless"); err == nil || !strings.Contains(said, "the patient's card is not here") {
		t.Fatalf("without care: %v %s", err, said)
	}
	if all := c.dump(control); strings.Contains(all, "careless") {
		t.Fatal("something was written without care")
	}
	c.cardauth(&wire.Card{
		Header: wire.Header{V: 1, PID: os.Getpid()}, Sessions: []wire.Session{s},
		Care: []wire.Care{{ID: "c", Session: s.ID, Patient: wire.Pseudonym(key, patient), Basis: wire.CarePresent}},
	})
	var on written
	c.wait("care", func() bool {
		var said string
		if on, said, err = write("online"); err != nil && !strings.Contains(said, "the patient's card is not here") {
			t.Fatalf("online: %v %s", err, said)
		}
		return err == nil
	})
	if on.Status != "201 200 200 201 201 200" || !on.Same || on.Pending || on.Clash != 412 || on.HiddenRead != 410 || on.Value != 76 || on.Result != on.Systolic ||
		!slices.Contains(on.Found, on.Systolic) || slices.Contains(on.Found, "Observation/"+on.Gone) {
		t.Errorf("online: %+v", on)
	}

	c.faults(control, `{"down":true}`)
	off, said, err := write("offline")
	if err != nil {
		t.Fatalf("offline: %v %s", err, said)
	}
	if off.Status != "202 202 202 202 202 202" || !off.Same || !off.Pending || off.Clash != 412 || off.HiddenRead != 410 || off.Value != 76 || off.Result != off.Systolic ||
		!slices.Contains(off.Found, "Observation/"+off.ID) || !slices.Contains(off.Found, off.Systolic) || slices.Contains(off.Found, "Observation/"+off.Gone) {
		t.Errorf("offline: %+v", off)
	}
	c.wait("edits in the status", func() bool { e := c.status().Edits; return e != nil && e.Waiting == 6 })
	c.kill() // and what waits outlives the program
	c.start()
	c.listening()
	c.faults(control, `{}`)
	c.within(time.Minute, "delivery", func() bool {
		return c.status().Edits == nil && !c.status().Published.IsZero() && strings.Count(c.dump(control), "offline") >= 4
	})

	all := c.dump(control)
	for _, what := range []string{"pulse", "systolic", "mistake", "report"} {
		if n := strings.Count(all, `"offline `+what+`"`); n != 1 {
			t.Errorf("the EHR has %q %d times", what, n)
		}
	}
	if strings.Contains(all, off.ID+`"`) && strings.Contains(all, `"id":"`+off.ID) || strings.Contains(all, "urn:clinicgate:pending") {
		t.Error("the EHR has our id, or our mark of what is pending")
	}
	// Names from here still work; what is there has the EHR's.
	body, header := c.readWith(c.tokenOf(s, "user/*.rs"), "DiagnosticReport/"+off.Report, 200)
	if header.Get(serve.PendingHeader) != "" || strings.Contains(body, off.Systolic) || !strings.Contains(body, "offline report") {
		t.Errorf("the report by its first id: %v %s", header, body)
	}
	c.readWith(c.tokenOf(s, "user/*.rs"), "Observation/"+off.Gone, http.StatusGone)
	for _, lost := range []string{"edits"} { // nothing of it in plain
		c.must(filepath.WalkDir(c.path("state/"+lost), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && bytes.Contains([]byte(readFile(t, path)), []byte("offline")) {
				t.Errorf("%s has a record in plain", path)
			}
			return err
		}))
	}
}

func (c *clinic) dump(control string) string {
	c.t.Helper()
	resp, err := http.Get(control + "/_dump")
	c.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	c.must(err)
	return string(text)
}

// faults has the EHR play a fault.
func (c *clinic) faults(control, wish string) {
	c.t.Helper()
	resp, err := http.Post(control+"/_ctl", "application/json", strings.NewReader(wish))
	c.must(err)
	resp.Body.Close()
}
