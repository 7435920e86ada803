package main

import (
	"context"
	"encoding/json"
	"errors"
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

// Where `make deps` puts npm modules.
const (
	clientModules = "../build/lab/fhirclients/node_modules"
	routerModules = "../build/lab/ehr/node_modules"
)

func fhirClientsThere() error {
	for _, m := range []string{clientModules + "/fhir-kit-client", clientModules + "/fhirclient", routerModules + "/@medplum/fhir-router"} {
		if _, err := os.Stat(m); err != nil {
			return errors.New(filepath.Base(m) + ": not found; `make deps` installs what the labs use")
		}
	}
	return nil
}

// medplum starts the lab's EHR with two Synthea patients in it and returns its FHIR
// URL and its control's.
func medplum(c *clinic) (base, control string, proc *exec.Cmd) {
	c.t.Helper()
	dir := c.t.TempDir()
	programs, err := filepath.Glob("../image/lab/ehr/*.mjs")
	c.must(err)
	for _, p := range append(programs, "../image/lab/ehr/package.json") {
		c.must(os.WriteFile(filepath.Join(dir, filepath.Base(p)), []byte(readFile(c.t, p)), 0o644))
	}
	abs, err := filepath.Abs(routerModules)
	c.must(err)
	c.must(os.Symlink(abs, filepath.Join(dir, "node_modules")))
	listen, ctl := "127.0.0.1:"+freePort(c.t), freePort(c.t)
	args := []string{"server.mjs", listen, ctl}
	for _, b := range []string{"hospitals", "practitioners", "alva-dickinson", "cecelia-romaguera"} {
		path, err := filepath.Abs("../image/lab/testdata/synthea/" + b + ".json.gz")
		c.must(err)
		args = append(args, path)
	}
	proc = exec.Command("node", args...)
	proc.Dir, proc.Stderr = dir, c.log
	c.must(proc.Start())
	c.t.Cleanup(func() { _ = proc.Process.Kill(); _ = proc.Wait() })
	base, control = "http://"+listen+"/fhir/R4", "http://127.0.0.1:"+ctl
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(base + "/metadata")
		if err == nil {
			resp.Body.Close()
			return base, control, proc
		}
		if time.Now().After(end) {
			c.t.Fatal("the EHR does not start")
		}
	}
}

// What the clients' day comes to.
type clientsDay struct {
	Kit struct {
		Kind, Family, Version, Tags, FoundTags, Batch    string
		Observations, Distinct, Total, Conditions, Found int
		Batched                                          int
		Everything                                       []string
	}
	Smart struct {
		Family       string
		Observations int
		Coded        []string
	}
}

// Two stock FHIR clients read Synthea patients from an EHR nobody here wrote, through
// the gateway; with the EHR gone they read the same.
func TestStockClientsOnlineAndOffline(t *testing.T) {
	lab.Require(t, lab.Program("node"), fhirClientsThere)
	t.Parallel()
	c := newClinic(t)
	ehrBase, control, proc := medplum(c)
	apps := freePort(t)
	site := strings.Replace(readFile(t, c.path("site/site.toml")), c.ehr.srv.URL+"/fhir/R4", ehrBase, 1)
	site = strings.Replace(site, "timeout = \"1500ms\"", "timeout = \"60s\"", 1)
	c.must(os.WriteFile(c.path("site/site.toml"), fmt.Appendf(nil, "%s[sync.apps]\nlisten = \"127.0.0.1:%s\"\nbase = \"https://127.0.0.1:%s\"\n", site, apps, apps), 0o644))
	c.keys()
	s := c.doctor()
	s.Keys = []string{wire.BoundAddr + "127.0.0.1"}
	c.card(s)
	c.start()
	c.listening()
	asked := "1271" + strings.Repeat("A", 32) // an Observation.code of the patient's
	patient, filed := synthea(c, control, "Dickinson688")

	dir := t.TempDir()
	c.must(os.WriteFile(filepath.Join(dir, "day.mjs"), []byte(readFile(t, "testdata/clients/day.mjs")), 0o644))
	modules, err := filepath.Abs(clientModules)
	c.must(err)
	c.must(os.Symlink(modules, filepath.Join(dir, "node_modules")))
	day := func(when string) (d clientsDay) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", filepath.Join(dir, "day.mjs"), "https://127.0.0.1:"+apps+serve.Base, c.addrToken(s), patient, "Dickinson", asked)
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+c.path("site/anchors/devices.pem"))
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &d)
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", when, err, out, said.String())
		}
		return d
	}
	online := day("online")
	of := func(typ string) (n int) {
		for _, ref := range filed {
			if strings.HasPrefix(ref, typ+"/") {
				n++
			}
		}
		return n
	}
	k := online.Kit
	if k.Kind != "instance" || k.Family != "Dickinson688" || k.Observations != of("Observation") || k.Distinct != k.Observations || k.Total != k.Observations ||
		k.Conditions != of("Condition") || k.Batch != "200 200 404" || k.Batched != k.Conditions || k.Found != 1 || k.Tags != "fresh complete" {
		t.Errorf("fhir-kit-client online: %+v; the EHR has %d Observations, %d Conditions", k, of("Observation"), of("Condition"))
	}
	for _, ref := range filed { // all of the patient, to the last resource
		if !slices.Contains(k.Everything, ref) {
			t.Errorf("$everything lacks %s", ref)
		}
	}
	if online.Smart.Family != "Dickinson688" || online.Smart.Observations != k.Observations || len(online.Smart.Coded) == 0 || !slices.IsSorted(online.Smart.Coded) {
		t.Errorf("fhirclient online: %+v", online.Smart)
	}

	c.must(proc.Process.Kill())
	offline := day("offline")
	o := offline.Kit
	if o.Tags != "stale complete" || o.FoundTags != "stale complete" || o.Batch != "200 200 504" {
		t.Errorf("fhir-kit-client offline: tags %q and %q, batch %q", o.Tags, o.FoundTags, o.Batch)
	}
	o.Tags, o.FoundTags, o.Batch = k.Tags, k.FoundTags, k.Batch
	if fmt.Sprint(o) != fmt.Sprint(k) || fmt.Sprint(offline.Smart) != fmt.Sprint(online.Smart) {
		t.Errorf("offline is not what it was online:\n%+v\n%+v", offline, online)
	}
	// What nobody asked for before is found too: all there was has been read.
	for path, want := range map[string]int{
		"Observation?patient=" + patient + "&code=" + asked + "&date=ge1900&_sort=-date": len(online.Smart.Coded),
		"Observation?patient=" + patient + "&category=survey&status=final&_count=1000":   -1,
		"Encounter?patient=" + patient + "&_sort=-date&_count=1000":                      of("Encounter"),
		"Immunization?patient=" + patient:                                                of("Immunization"),
	} {
		text, _ := c.read(path, 200)
		var b struct{ Total int }
		c.must(json.Unmarshal([]byte(text), &b))
		if want >= 0 && b.Total != want || b.Total == 0 || !strings.Contains(text, `"code":"complete"`) {
			t.Errorf("%s: %d matches, want %d", path, b.Total, want)
		}
	}
}

// synthea returns the id of a patient of that family name, and all that is filed
// under the patient, by the EHR's own word.
func synthea(c *clinic, control, family string) (patient string, filed []string) {
	c.t.Helper()
	resp, err := http.Get(control + "/_dump")
	c.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	c.must(err)
	type resource struct {
		ResourceType, ID string
		Name             json.RawMessage
		Subject, Patient json.RawMessage
	}
	var all []resource
	c.must(json.Unmarshal(text, &all))
	for _, r := range all {
		if r.ResourceType == "Patient" && strings.Contains(string(r.Name), family) {
			patient = r.ID
		}
	}
	types := map[string]bool{}
	for _, r := range all {
		if strings.Contains(string(r.Subject)+string(r.Patient), `"Patient/`+patient+`"`) {
			types[r.ResourceType] = true
			filed = append(filed, r.ResourceType+"/"+r.ID)
		}
	}
	// Claims and the like have no search by patient here, see the CapabilityStatement.
	return patient, slices.DeleteFunc(filed, func(ref string) bool {
		typ, _, _ := strings.Cut(ref, "/")
		return slices.Contains([]string{"Claim", "ExplanationOfBenefit", "Device", "Provenance", "SupplyDelivery"}, typ)
	})
}
