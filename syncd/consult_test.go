package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
	fhirlab "clinicgate/image/lab/ehr"
)

const ehrModules = "../build/lab/ehr"

// A hospital is the far side: a FHIR server and an image archive that nobody here
// wrote, and the line to them, which can be cut.
type hospital struct {
	t       *testing.T
	ehr     *fhirlab.Server
	direct  *http.Client // the specialist, who sits there
	cut     atomic.Bool
	lose    atomic.Int32 // so many transactions are done there, and their answers lost
	line    string       // the FHIR server as the clinic reaches it
	archive string       // the image archive as the clinic reaches it
	orthanc string
}

func newHospital(t *testing.T) *hospital {
	t.Helper()
	lab.Require(t, lab.Root, fhirlab.Installed(ehrModules), lab.Program("Orthanc", "mosquitto_sub"))
	h := &hospital{t: t}
	space, err := netns.New(fmt.Sprintf("consult%d", os.Getpid()))
	h.must(err)
	t.Cleanup(func() { space.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h.ehr, err = fhirlab.Start(ctx, fhirlab.Config{Space: space, Dir: ehrModules, Listen: "127.0.0.1:8103", Log: filepath.Join(t.TempDir(), "ehr.log")})
	h.must(err)
	t.Cleanup(h.ehr.Proc.Kill)
	h.direct = &http.Client{Transport: &http.Transport{DialContext: space.DialContext}, Timeout: 30 * time.Second}
	h.line = h.through(&url.URL{Scheme: "http", Host: "127.0.0.1:8103"}, space.DialContext) + "/fhir/R4"
	h.startOrthanc()
	return h
}

// through is a way in that is cut when the line is.
func (h *hospital) through(to *url.URL, dial func(context.Context, string, string) (net.Conn, error)) string {
	door := httputil.NewSingleHostReverseProxy(to)
	door.Transport = &http.Transport{DialContext: dial}
	door.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return httpServer(h.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodPost && h.lose.Add(-1) >= 0 {
			door.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		door.ServeHTTP(w, r)
		if h.cut.Load() {
			panic(http.ErrAbortHandler)
		}
	}))
}

func (h *hospital) startOrthanc() {
	dir, port := h.t.TempDir(), freePort(h.t)
	conf, err := json.Marshal(map[string]any{
		"StorageDirectory": dir, "IndexDirectory": dir, "HttpPort": json.Number(port), "DicomServerEnabled": false, "RemoteAccessAllowed": false,
		"AuthenticationEnabled": false, "Plugins": []string{"/usr/share/orthanc/plugins/libOrthancDicomWeb.so"},
	})
	h.must(err)
	h.must(os.WriteFile(filepath.Join(dir, "orthanc.json"), conf, 0o600))
	cmd := exec.Command("Orthanc", filepath.Join(dir, "orthanc.json"))
	h.must(cmd.Start())
	h.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	h.orthanc = "http://127.0.0.1:" + port
	h.archive = h.through(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port}, new(net.Dialer).DialContext) + "/dicom-web"
}

func (h *hospital) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// put is the specialist's work, on the spot: resources as they are, in one
// transaction.
func (h *hospital) put(entries ...string) {
	h.t.Helper()
	resp, err := h.direct.Post("http://127.0.0.1:8103/fhir/R4/", "application/fhir+json",
		strings.NewReader(`{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`))
	h.must(err)
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		h.t.Fatalf("put: %d %s", resp.StatusCode, text)
	}
}

func entry(ref, resource string) string {
	return fmt.Sprintf(`{"fullUrl":"urn:uuid:%s","resource":%s,"request":{"method":"PUT","url":"%s"}}`, strings.ReplaceAll(ref, "/", "-"), resource, ref)
}

// count says how many of each type the FHIR server holds.
func (h *hospital) count() map[string]int {
	h.t.Helper()
	all, err := h.ehr.Dump()
	h.must(err)
	n := map[string]int{}
	for _, r := range all {
		n[r.Type]++
	}
	return n
}

// images counts the archive's instances.
func (h *hospital) images() int {
	resp, err := http.Get(h.orthanc + "/instances")
	if err != nil {
		return -1 // it is starting
	}
	defer resp.Body.Close()
	var ids []string
	if json.NewDecoder(resp.Body).Decode(&ids) != nil {
		return -1
	}
	return len(ids)
}

// cases asks the control socket, as gatectl does.
func (c *clinic) cases() []wire.Consult {
	c.t.Helper()
	var all wire.Consults
	c.must(json.Unmarshal([]byte(c.control("/consults")), &all))
	return all.Items
}

func (c *clinic) caseIs(state string, replies int) func() bool {
	return func() bool {
		all := c.cases()
		return len(all) == 1 && all[0].State == state && all[0].Replies == replies
	}
}

// display is a device that listens to what the gateway says of cases.
func (c *clinic) display(port string) *lockedBuffer {
	c.t.Helper()
	cmd := exec.Command("mosquitto_sub", "-h", "localhost", "-p", port, "-V", "5", "-q", "1", "-t", "clinicgate/consults/#", "-v",
		"--cafile", c.path("site/anchors/devices.pem"), "--cert", c.path("display-1.crt"), "--key", c.path("display-1.key"))
	shown := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = shown, shown
	c.must(cmd.Start())
	c.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return shown
}

// theCase is what the rural doctor sends: a request, a question, an ECG in the
// hospital's archive, and a photo.
const theCase = `{"resourceType":"Bundle","type":"transaction","entry":[
 {"fullUrl":"urn:uuid:a","resource":{"resourceType":"ServiceRequest","status":"active","intent":"order","priority":"urgent","code":{"text":"secret second opinion"},"subject":{"reference":"Patient/p1"}},"request":{"method":"POST","url":"ServiceRequest"}},
 {"fullUrl":"urn:uuid:b","resource":{"resourceType":"Communication","status":"completed","basedOn":[{"reference":"urn:uuid:a"}],"subject":{"reference":"Patient/p1"},"payload":[{"contentString":"secret: is this an infarction?"},{"contentReference":{"reference":"urn:uuid:c"}}]},"request":{"method":"POST","url":"Communication"}},
 {"fullUrl":"urn:uuid:s","resource":{"resourceType":"ImagingStudy","status":"available","subject":{"reference":"Patient/p1"},"basedOn":[{"reference":"urn:uuid:a"}],"identifier":[{"system":"urn:dicom:uid","value":"urn:oid:1.2.3"}]},"request":{"method":"POST","url":"ImagingStudy"}},
 {"fullUrl":"urn:uuid:c","resource":{"resourceType":"DocumentReference","status":"current","subject":{"reference":"Patient/p1"},"content":[{"attachment":{"contentType":"image/jpeg","url":"urn:uuid:d"}}]},"request":{"method":"POST","url":"DocumentReference"}},
 {"fullUrl":"urn:uuid:d","resource":{"resourceType":"Binary","contentType":"image/jpeg","data":"/9j/4A=="},"request":{"method":"POST","url":"Binary"}}]}`

// A case goes to the specialist and comes back, through a line that is cut in both
// directions and a gateway that is killed at the worst moments.
func TestTeleconsultation(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	c := newClinic(t)
	mqttPort := freePort(t)
	site := strings.Replace(readFile(t, c.path("site/site.toml")), c.ehr.srv.URL+"/fhir/R4", h.line, 1) + fmt.Sprintf(`
[sync.uploads]
[sync.mqtt]
listen = "127.0.0.1:%s"
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "%s"
accepts = ["dicom"]
[[sync.destination]]
name = "ehr"
kind = "fhir"
url = "%s"
accepts = ["pdf", "fhir"]
`, mqttPort, h.archive, h.line)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.device("display-1")
	h.put(entry("Patient/p1", `{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:mrn","value":"1001"}],"name":[{"family":"Secretname","given":["Ana"]}]}`))
	c.caring("1001")
	begin := func() {
		c.start()
		c.listening()
		c.wait("the session", func() bool { return c.allowed("Patient/p1") })
	}
	begin()

	// The line is down: the case is kept, also over a kill.
	h.cut.Store(true)
	resp, text := c.handIn("", theCase)
	var answer struct {
		Entry []struct{ Response struct{ Location string } }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || resp.StatusCode != http.StatusAccepted || len(answer.Entry) != 5 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	request := answer.Entry[0].Response.Location
	c.wait("the case", c.caseIs("waiting", 0))
	c.kill()
	begin()
	ecg := []byte(readFile(t, "../image/lab/testdata/ecg/12lead.dcm"))
	if resp := c.tus("POST", "/uploads", ecg); resp.StatusCode != http.StatusCreated {
		t.Fatalf("the ECG: %d", resp.StatusCode)
	}
	shown := c.display(mqttPort)
	c.wait("the display to hear how it stands", func() bool { return strings.Contains(shown.String(), `"state":"waiting"`) })

	// The line is back; the first transaction is done there and its answer lost.
	h.lose.Store(2)
	h.cut.Store(false)
	c.within(time.Minute, "the case there", c.caseIs("sent", 0))
	c.within(time.Minute, "the ECG in the archive", func() bool { return h.images() == 1 })
	if n := h.count(); n["ServiceRequest"] != 1 || n["Communication"] != 1 || n["DocumentReference"] != 1 || n["Binary"] != 1 {
		t.Fatalf("the hospital has %v", n)
	}

	// The line is cut again while the specialist answers, with an annotated image.
	h.cut.Store(true)
	h.put(entry("Communication/r1", `{"resourceType":"Communication","id":"r1","status":"completed","basedOn":[{"reference":"`+request+`"}],"subject":{"reference":"Patient/p1"},"payload":[{"contentString":"secret: yes, see the marks"}]}`),
		entry("Binary/i1", `{"resourceType":"Binary","id":"i1","contentType":"image/png","data":"aVZCT1J3"}`),
		entry("Media/m1", `{"resourceType":"Media","id":"m1","status":"completed","basedOn":[{"reference":"`+request+`"}],"subject":{"reference":"Patient/p1"},"content":{"contentType":"image/png","url":"Binary/i1"},"note":[{"text":"secret marks at V2 to V4"}]}`),
		entry("DiagnosticReport/d1", `{"resourceType":"DiagnosticReport","id":"d1","status":"preliminary","code":{"text":"ECG"},"basedOn":[{"reference":"`+request+`"}],"subject":{"reference":"Patient/p1"},"media":[{"link":{"reference":"Media/m1"}}],"conclusion":"secret infarction"}`))
	h.cut.Store(false)
	c.kill()
	begin()
	c.within(time.Minute, "the answer", c.caseIs("answered", 3))

	// Cut once more: all of the answer is here, and the card reads it.
	h.cut.Store(true)
	c.kill()
	c.start()
	c.listening()
	c.wait("the doctor", func() bool { return c.allowed("Communication/r1") })
	for ref, want := range map[string]string{
		"Communication/r1": "see the marks", "Media/m1": "V2 to V4", "Binary/i1": "aVZCT1J3", "DiagnosticReport/d1": "infarction",
		"DiagnosticReport?patient=p1": "infarction",
	} {
		body, header := c.read(ref, 200)
		if !strings.Contains(body, want) || header.Get("Age") == "" {
			t.Errorf("%s with the line cut: %s %v", ref, body, header)
		}
	}
	later := c.display(mqttPort)
	c.wait("a display that comes later to hear how it stands", func() bool { return strings.Contains(later.String(), `"state":"answered"`) })
	h.put(entry("DiagnosticReport/d1", `{"resourceType":"DiagnosticReport","id":"d1","status":"final","code":{"text":"ECG"},"basedOn":[{"reference":"`+request+`"}],"subject":{"reference":"Patient/p1"},"conclusion":"secret infarction, final"}`),
		entry("Communication/wrong", `{"resourceType":"Communication","id":"wrong","status":"completed","basedOn":[{"reference":"`+request+`"}],"subject":{"reference":"Patient/p2"},"payload":[{"contentString":"another's"}]}`))
	h.cut.Store(false)
	c.within(time.Minute, "the final report", c.caseIs("final", 3))
	c.within(time.Minute, "the alarm about another patient's answer", func() bool { return c.fault(faultConsult) })
	c.wait("the display", func() bool { return strings.Contains(later.String(), `"state":"final"`) })

	for what, text := range map[string]string{
		"the log": c.log.String(), "the wire file": readFile(t, c.path("run/syncd.json")), "the display": shown.String() + later.String(),
		"gatectl": c.control("/consults") + c.control("/consults/"+c.cases()[0].Case[:8]),
	} {
		if strings.Contains(strings.ToLower(text), "secret") || strings.Contains(text, "Patient/") || strings.Contains(text, "1001") {
			t.Errorf("%s names the patient:\n%s", what, text)
		}
	}
}
