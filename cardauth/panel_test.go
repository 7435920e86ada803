package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/proc"
)

var screens = flag.String("screens", "", "write the picture of the page for ECGs into this `folder`")

// panel runs the clinic's page beside cardauth and syncd.
func (b *browser) panel() {
	b.t.Helper()
	bin := filepath.Join(b.dir, "panel")
	if out, err := exec.Command("go", "build", "-o", bin, "../firmware/panel").CombinedOutput(); err != nil {
		b.t.Fatalf("build panel: %v\n%s", err, out)
	}
	path := func(sub string) string { return filepath.Join(b.dir, sub) }
	cmd := exec.Command(bin, "-site", path("site/site.toml"), "-secrets", path("secrets"), "-state", path("panel-state"), "-run", path("run"))
	if err := proc.Bound(cmd); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+b.page)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("the page does not come: %v", err)
		}
	}
}

// cart hands a real ECG in, as a device.
func (b *browser) cart() {
	b.t.Helper()
	ecg, err := os.ReadFile("../image/lab/testdata/ecg/ecgtoolkit.scp")
	if err != nil {
		b.t.Fatal(err)
	}
	id, err := b.world.Client("modality", "ecg-1")
	if err != nil {
		b.t.Fatal(err)
	}
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{id.TLS()}, InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	resp, err := c.Post("https://127.0.0.1:"+b.ways+"/uploads", "application/octet-stream", bytes.NewReader(ecg))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b.t.Fatalf("the ECG was handed in: %s", resp.Status)
	}
}

// A doctor opens the clinic's page, logs in with the card, sees the ECG that no line
// has taken to the hospital yet, and it is gone from the screen when the card is.
func TestDoctorSeesAnECG(t *testing.T) {
	b := newBrowser(t)
	b.panel()
	b.cart()
	b.insert(b.card(b.world.Professionals, "282864711"))

	b.do("open", "url", "https://gateway.internal:"+b.page+"/ecg")
	b.do("wait", "selector", "#login")
	if got := b.do("look"); strings.Contains(got["text"].(string), "SBJ-123") {
		t.Fatal("a patient's number is on the page before anybody logged in")
	}
	b.do("click", "selector", "#login")
	b.do("wait", "selector", "input[name=pin]")
	b.do("fill", "selector", "input[name=pin]", "value", rightPIN)
	b.do("click", "selector", "button[value=login]")
	b.do("wait", "selector", "#list button")
	if got := b.do("look"); !strings.Contains(got["text"].(string), "SBJ-123") || strings.Contains(got["url"].(string), "code=") {
		t.Errorf("the list: %v", got)
	}
	b.do("click", "selector", "#list button")
	drawn := b.do("drawn")
	if wide := drawn["wide"].(float64); wide < 1035 || wide > 1045 || !strings.Contains(drawn["alt"].(string), "25 mm/s") { // 275 mm at 96 dots an inch
		t.Errorf("drawn: %v", drawn)
	}
	if *screens != "" {
		b.do("shot", "file", filepath.Join(*screens, "ecg.png"))
	}
	for _, e := range b.do("seen")["seen"].([]any) {
		if text := e.(string); !strings.Contains(text, "status of 400") && !strings.Contains(text, "status of 401") { // a nonce is asked for (RFC 9449 §8)
			t.Errorf("the console says %v", e)
		}
	}

	b.slot.Remove()
	b.do("gone", "selector", "#sheet img")
	b.do("gone", "selector", "#list button")
	if got := b.do("look"); strings.Contains(got["text"].(string), "SBJ-123") {
		t.Errorf("with the card out the page says %v", got)
	}
}
