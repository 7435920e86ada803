package main

import (
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

// post asks the control socket to do something.
func (c *clinic) post(path string) (int, string) {
	c.t.Helper()
	resp, err := unixClient(c.path("run/syncd.sock")).Post("http://syncd"+path, "", nil)
	c.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	c.must(err)
	return resp.StatusCode, string(data)
}

// An ECG under another patient's number is held, shown without the patient, and
// goes on only on a person's word. An order is on the worklist, with the EHR and
// without it.
func TestRightPatient(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("storescu", "findscu"))
	c := newClinic(t)
	port := freePort(t)
	hospital := http.NewServeMux()
	asked := make(chan string, 64)
	hospital.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Method:
		default:
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	site := fmt.Sprintf(`%s
[sync.dicom]
listen = "127.0.0.1:%s"
title = "CLINICGATE"
[sync.worklist]
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "%s/dicom-web"
accepts = ["dicom"]
`, readFile(t, c.path("site/site.toml")), port, httpServer(t, hospital))
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	other := `{"resourceType":"Patient","id":"p9","identifier":[{"value":"642341"}],"name":[{"family":"Secretname","given":["Other"]}],"birthDate":"1950-01-01"}`
	order := `{"resourceType":"ServiceRequest","id":"s1","status":"active","subject":{"reference":"Patient/p9"},"code":{"coding":[{"code":"11524-6"}]}}`
	listed := func(resources string) string {
		return `{"resourceType":"Bundle","type":"searchset","entry":[` + resources + `]}`
	}
	c.ehr.set("Patient/p9", other)
	c.ehr.set("Patient?identifier=642341&_count=500", listed(`{"resource":`+other+`}`))
	c.ehr.set("ServiceRequest?status=active&_count=500", listed(`{"resource":`+order+`}`))
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	c.ehr.set("Appointment?date=ge"+day(-1)+"&date=lt"+day(3)+"&status=booked,arrived,checked-in,pending&_count=500", listed(""))
	c.start()

	find := func() string {
		out, _ := exec.Command("findscu", "-v", "-W", "-aet", "ECGCART", "-aec", "CLINICGATE", "127.0.0.1", port,
			"-k", "0010,0010", "-k", "0010,0020", "-k", "0020,000D", "-k", "(0040,0100)[0].0008,0060=ECG").CombinedOutput()
		return string(out)
	}
	ordered := func() bool {
		out := find()
		return strings.Contains(out, "Secretname^Other") && strings.Contains(out, "2.25.")
	}
	c.wait("the order on the worklist", ordered)

	out, err := exec.Command("storescu", "-aet", "ECGCART", "-aec", "CLINICGATE", "127.0.0.1", port, "../image/lab/testdata/ecg/12lead.dcm").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.wait("the ECG held", func() bool { return strings.Contains(c.control("/queue/held"), "patient: ") && c.fault(faultHeld) })
	held := c.control("/queue/held")
	if strings.Contains(held, "642341") || strings.Contains(held, "Secret") || len(asked) > 0 {
		t.Fatalf("held: %s, and the hospital was asked %d times", held, len(asked))
	}
	id := regexp.MustCompile(`"id":"([0-9a-f]{32})"`).FindStringSubmatch(held)[1]
	if status, said := c.post("/queue/" + id[:8] + "/release"); status != http.StatusBadRequest {
		t.Errorf("released by nobody: %d %s", status, said)
	}
	if status, said := c.post("/queue/ffff/release?by=A"); status != http.StatusNotFound {
		t.Errorf("another was released: %d %s", status, said)
	}
	if status, said := c.post("/queue/" + id[:8] + "/release?by=A.Technician"); status != http.StatusOK {
		t.Fatalf("release: %d %s", status, said)
	}
	c.wait("an attempt", func() bool { return len(asked) > 0 })
	if status, said := c.post("/queue/verify"); status != http.StatusOK || !strings.Contains(said, `"problems":[]`) {
		t.Errorf("verify: %d %s", status, said)
	}

	c.ehr.down.Store(true)
	c.kill()
	c.start()
	c.wait("the order without the EHR, after a kill", ordered)
	if log := c.log.String(); strings.Contains(log, "642341") || strings.Contains(log, "Secretname") {
		t.Errorf("the log names patients:\n%s", log)
	}
	if wire := readFile(t, c.path("run/syncd.json")); strings.Contains(wire, "642341") || strings.Contains(wire, "Secretname") {
		t.Errorf("the wire file names patients:\n%s", wire)
	}
}
