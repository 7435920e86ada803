package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/upload"
)

// tus sends one request of an upload as the doctor at the workstation.
func (c *clinic) tus(method, path string, body []byte, header ...string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequest(method, "https://127.0.0.1:"+c.port+path, bytes.NewReader(body))
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+c.token())
	r.Header.Set("Tus-Resumable", "1.0.0")
	r.Header.Set("Content-Type", "application/offset+octet-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	c.must(err)
	return resp
}

// A doctor uploads an ECG in pieces, the box is killed after each; a device the
// site names posts one with a stock client; without login a workstation may not.
func TestUploadsOverHTTPS(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("curl"))
	c := newClinic(t)
	c.ways("[sync.uploads]\ndevices = [\"holter-1\"]")
	c.keys()
	c.card(c.doctor())
	begin := func() {
		c.start()
		c.listening()
		c.wait("cardauth's word", func() bool { return c.tus("HEAD", upload.TusPath+"x", nil).StatusCode == 404 })
	}
	begin()
	file := []byte(readFile(t, "../image/lab/testdata/ecg/12lead.dcm"))
	resp := c.tus("POST", upload.TusPath, nil, "Upload-Length", fmt.Sprint(len(file)))
	path := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusCreated || path == "" {
		t.Fatalf("created: %d", resp.StatusCode)
	}
	for at := 0; at < len(file); {
		to := min(at+len(file)/3+1, len(file))
		if resp := c.tus("PATCH", path, file[at:to], "Upload-Offset", fmt.Sprint(at)); resp.StatusCode != http.StatusNoContent {
			t.Fatalf("piece at %d: %d", at, resp.StatusCode)
		}
		c.kill()
		begin()
		if o := c.tus("HEAD", path, nil).Header.Get("Upload-Offset"); o != fmt.Sprint(to) {
			t.Fatalf("offset %s after the kill, want %d", o, to)
		}
		at = to
	}
	c.wait("the ECG in the queue", func() bool { return c.waiting() == 1 })

	c.device("holter-1")
	c.device("desk-2")
	post := func(device string) string {
		out, err := exec.Command("curl", "-sS", "--cacert", c.path("site/anchors/devices.pem"), "--cert", c.path(device+".crt"), "--key", c.path(device+".key"),
			"--connect-to", "::127.0.0.1:"+c.port, "--data-binary", "@format/testdata/ecgtoolkit_example.scp", "-w", "%{http_code}",
			"https://"+name+":"+c.port+upload.PostPath).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	if out := post("holter-1"); !strings.HasSuffix(out, "201") {
		t.Errorf("a device's: %s", out)
	}
	if out := post("desk-2"); !strings.HasSuffix(out, "401") || !strings.Contains(out, "no-token") {
		t.Errorf("a workstation's without login: %s", out)
	}
	c.wait("both in the queue", func() bool { return c.waiting() == 2 })
	if files, err := os.ReadDir(c.path("state/parts")); err != nil || len(files) != 1 {
		t.Errorf("%d files of parts, want the one that says done: %v", len(files), err)
	}
}
