package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// dcmtk runs one of its programs.
func (c *clinic) dcmtk(program string, args ...string) string {
	c.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// value is an element of a DICOM file, as dcmdump shows it.
func (c *clinic) value(file, tag string) string {
	c.t.Helper()
	m := regexp.MustCompile(`(?m)^\s*\(` + tag + `\) \w\w \[(.*?)\]`).FindStringSubmatch(c.dcmtk("dcmdump", "+P", tag, file))
	if m == nil {
		c.t.Fatalf("no (%s) in %s", tag, file)
	}
	return strings.TrimSpace(m[1])
}

// stored are the patients of the archive's instances.
func (h *hospital) stored() (patients []string) {
	resp, err := http.Get(h.orthanc + "/patients?expand")
	h.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	h.must(err)
	var all []struct{ MainDicomTags struct{ PatientID string } }
	h.must(json.Unmarshal(text, &all))
	for _, p := range all {
		patients = append(patients, p.MainDicomTags.PatientID)
	}
	return patients
}

// A cart asks for its worklist, records, and sends what it recorded under the
// worklist's ids: that is in the archive, under the order's patient. What carries
// the order's study and another patient's number is held.
func TestWorklistEndToEnd(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("storescu", "findscu", "dcmodify", "dcmdump", "Orthanc"))
	h := &hospital{t: t}
	h.startOrthanc()
	c := newClinic(t)
	port := freePort(t)
	site := fmt.Sprintf(`%s
[sync.dicom]
listen = "127.0.0.1:%s"
title = "CLINICGATE"
[sync.worklist]
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "%s"
accepts = ["dicom"]
patients = "matched"
`, readFile(t, c.path("site/site.toml")), port, h.archive)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	listed := func(resources string) string {
		return `{"resourceType":"Bundle","type":"searchset","entry":[` + resources + `]}`
	}
	c.ehr.set("Patient/p9", `{"resourceType":"Patient","id":"p9","identifier":[{"type":{"coding":[{"code":"MR"}]},"value":"MR-9"}],"name":[{"family":"Secretname","given":["Eva"]}],"birthDate":"1950-01-01"}`)
	c.ehr.set("ServiceRequest?status=active&_count=500", listed(`{"resource":{"resourceType":"ServiceRequest","id":"s1","status":"active","subject":{"reference":"Patient/p9"},"code":{"coding":[{"code":"11524-6"}]}}}`))
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	c.ehr.set("Appointment?date=ge"+day(-1)+"&date=lt"+day(3)+"&status=booked,arrived,checked-in,pending&_count=500", listed(""))
	c.start()

	item := c.path("rsp0001.dcm")
	c.wait("the order on the worklist", func() bool {
		exec.Command("findscu", "-W", "-X", "-od", c.dir, "-aet", "ECGCART", "-aec", "CLINICGATE", "127.0.0.1", port,
			"-k", "0010,0010", "-k", "0010,0020", "-k", "0010,0030", "-k", "0020,000D", "-k", "0008,0050", "-k", "(0040,0100)[0].0008,0060=ECG").Run()
		_, err := os.Stat(item)
		return err == nil
	})
	study, number := c.value(item, "0020,000d"), c.value(item, "0010,0020")
	if number != "MR-9" {
		t.Fatalf("the worklist says patient %s", number)
	}
	record := func(file string, more ...string) string {
		c.must(os.WriteFile(c.path(file), []byte(readFile(t, "../image/lab/testdata/ecg/12lead.dcm")), 0o644))
		c.dcmtk("dcmodify", append(append([]string{"-nb", "-gin", "-m", "0020,000D=" + study, "-i", "0008,0050=" + c.value(item, "0008,0050")}, more...), c.path(file))...)
		return c.path(file)
	}
	send := func(file string) {
		c.dcmtk("storescu", "-aet", "ECGCART", "-aec", "CLINICGATE", "127.0.0.1", port, file)
	}
	send(record("right.dcm", "-m", "0010,0020="+number, "-m", "0010,0010="+c.value(item, "0010,0010"), "-m", "0010,0030="+c.value(item, "0010,0030")))
	c.wait("the ECG in the archive", func() bool { return h.images() == 1 })
	if all := h.stored(); len(all) != 1 || all[0] != "MR-9" {
		t.Errorf("the archive has it under %v", all)
	}
	send(record("wrong.dcm", "-m", "0010,0020=MR-8", "-m", "0010,0010=Secretname^Eva"))
	c.wait("the other held", func() bool { return strings.Contains(c.control("/queue/held"), "other-than-order") })
	if n := h.images(); n != 1 {
		t.Errorf("the archive has %d instances", n)
	}
	if log := c.log.String(); strings.Contains(log, "Secretname") || strings.Contains(log, "MR-") {
		t.Errorf("the log names patients:\n%s", log)
	}
}
