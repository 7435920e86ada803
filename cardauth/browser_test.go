package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// modules are fhirclient and what drives the browser; `make deps` puts them there.
const modules = "../build/lab/browser/node_modules"

// A browser is a real one, with a SMART app's page to open in it.
type browser struct {
	*desk
	app   string // address of the app's pages
	login string // of cardauth's
	page  string // of the clinic's page
	ways  string // into syncd
	fhir  string // of the records for programs
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
}

// newBrowser starts cardauth, syncd, an EHR with one patient, the app's pages and
// the browser.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	lab.Require(t, lab.Program("node", "chromium"), func() error {
		_, err := os.Stat(modules)
		if err != nil {
			return fmt.Errorf("fhirclient: %w; `make deps` installs it", err)
		}
		return nil
	})
	b := &browser{login: freePort(t), fhir: freePort(t), page: freePort(t), ways: freePort(t)}
	var trusted []string
	newDesk(t, func(d *desk) {
		b.desk = d
		trusted = append(trusted, spki(t, filepath.Join(d.dir, "secrets", "tls.crt")))
		pages, err := d.world.Gateway()
		if err != nil {
			t.Fatal(err)
		}
		b.serveApp(pages)
		sum := sha256.Sum256(pages.Cert.RawSubjectPublicKeyInfo)
		trusted = append(trusted, base64.StdEncoding.EncodeToString(sum[:]))
		b.site(t)
	})
	b.syncd()
	b.launch(trusted)
	return b
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// spki is how Chromium names a certificate that it is told to trust.
func spki(t *testing.T, file string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(file, strings.TrimSuffix(file, ".crt")+".key")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// serveApp serves two apps of the same pages: one that includes the gateway's
// dpop.js, and one as it came.
func (b *browser) serveApp(id *pki.Device) {
	b.t.Helper()
	file := func(name string) []byte {
		data, err := os.ReadFile(name)
		if err != nil {
			b.t.Fatal(err)
		}
		return data
	}
	page := string(file("testdata/browser/app.html"))
	shim := fmt.Sprintf("<script src=\"https://gateway.internal:%s/dpop.js\"></script>", b.login)
	script := file("testdata/browser/app.js")
	mux := http.NewServeMux()
	for _, name := range []string{"chart", "legacy"} {
		html, build := page, "fhir-client.js"
		if name == "chart" { // the build that asks by the browser's own fetch
			build = "fhir-client.pure.js"
			html = strings.Replace(page, "<!-- SHIM -->", shim, 1)
		}
		put := func(path, kind string, body []byte) {
			mux.HandleFunc("GET /"+name+"/"+path, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				_, _ = w.Write(body)
			})
		}
		put("{$}", "text/html", []byte(html))
		put("app.js", "text/javascript", script)
		put("fhir-client.js", "text/javascript", file(modules+"/fhirclient/build/"+build))
		settings, err := json.Marshal(map[string]string{
			"iss": "https://gateway.internal:" + b.fhir + "/fhir/R4", "clientId": name,
			"scope": "openid fhirUser online_access user/*.read",
		})
		if err != nil {
			b.t.Fatal(err)
		}
		put("settings.json", "application/json", settings)
	}
	srv := httptest.NewUnstartedServer(mux)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{id.TLS()}}
	srv.StartTLS()
	b.t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	b.app = "https://chart.internal:" + port
}

// site tells both daemons of the programs, and syncd of the EHR.
func (b *browser) site(t *testing.T) {
	t.Helper()
	ehr := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		if r.URL.Path != "/fhir/Patient/p1" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `W/"1"`)
		_, _ = io.WriteString(w, `{"resourceType":"Patient","id":"p1","meta":{"versionId":"1"}}`)
	}))
	t.Cleanup(ehr.Close)
	path := filepath.Join(b.dir, "site", "site.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(data), "# ---- syncd")
	text += fmt.Sprintf(`
[card.apps]
listen = "127.0.0.1:%[1]s"
base   = "https://gateway.internal:%[1]s"
fhir   = "https://gateway.internal:%[2]s/fhir/R4"
[[card.app]]
client_id = "chart"
name = "The Chart"
redirect_uris = ["%[3]s/chart/"]
scopes = ["user/*.rs", "openid", "fhirUser", "online_access"]
bind = "dpop"
[[card.app]]
client_id = "legacy"
name = "The Old Chart"
redirect_uris = ["%[3]s/legacy/"]
scopes = ["user/*.rs", "openid", "fhirUser", "online_access"]
bind = "address"
[[card.app]]
client_id = "panel"
name = "The clinic's page"
redirect_uris = ["https://gateway.internal:%[6]s/ecg"]
scopes = ["user/*.rs", "online_access"]
bind = "dpop"
[[card.browser]]
address = "127.0.0.1"
room = "consulting-1"
[panel]
listen = "127.0.0.1:%[6]s"
plain = ""
records = "https://gateway.internal:%[2]s/fhir/R4"
[sync]
listen  = "127.0.0.1:%[4]s"
devices = "devices.pem"
[sync.ehr]
base    = "%[5]s/fhir"
[sync.apps]
listen  = "127.0.0.1:%[2]s"
base    = "https://gateway.internal:%[2]s"
[sync.uploads]
devices = ["ecg-1"]
[[sync.destination]]
name = "ehr"
kind = "fhir"
url = "http://127.0.0.1:9/fhir"
accepts = ["scp-ecg"]
`, b.login, b.fhir, b.app, b.ways, ehr.URL, b.page)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// syncd runs beside cardauth, in the same run directory.
func (b *browser) syncd() {
	b.t.Helper()
	bin := built(b.t, "../syncd")
	path := func(sub string) string { return filepath.Join(b.dir, sub) }
	cmd := exec.Command(bin, "-site", path("site/site.toml"), "-secrets", path("secrets"), "-state", path("syncd-state"), "-run", path("run"))
	var log lockedBuffer
	cmd.Stderr = &log
	if err := proc.Bound(cmd); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("syncd said:\n%s", log.String())
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+b.fhir)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("syncd does not listen: %v\n%s", err, log.String())
		}
	}
}

func (b *browser) launch(trusted []string) {
	b.t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		b.t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]any{"chromium": chromium, "modules": modules, "trusted": trusted})
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = calm("node", "testdata/browser/drive.cjs")
	b.cmd.Env = append(os.Environ(), "BROWSER="+string(settings), "HOME="+b.dir)
	b.cmd.Stderr = os.Stderr
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.out = bufio.NewScanner(out)
	b.out.Buffer(nil, 1<<20)
	if err := proc.Bound(b.cmd); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		b.in.Close()
		done := make(chan struct{})
		go func() { _ = b.cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = b.cmd.Process.Kill()
		}
	})
}

// do has the browser do one thing; key, value pairs say what.
func (b *browser) do(what string, args ...any) map[string]any {
	b.t.Helper()
	command := map[string]any{"do": what}
	for i := 0; i < len(args); i += 2 {
		command[args[i].(string)] = args[i+1]
	}
	line, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		b.t.Fatal(err)
	}
	if !b.out.Scan() {
		b.t.Fatalf("the browser went away at %s: %v", line, b.out.Err())
	}
	var got struct {
		OK    bool           `json:"ok"`
		Value map[string]any `json:"value"`
		Error string         `json:"error"`
		URL   string         `json:"url"`
		Text  string         `json:"text"`
		Seen  []string       `json:"seen"`
	}
	if err := json.Unmarshal(b.out.Bytes(), &got); err != nil {
		b.t.Fatalf("%v in %s", err, b.out.Bytes())
	}
	if !got.OK {
		b.t.Fatalf("%s: %s\nat %s: %s\nconsole: %q", line, got.Error, got.URL, got.Text, got.Seen)
	}
	return got.Value
}

// arrives waits for the app to have read, or not, and returns what it shows.
func (b *browser) arrives(want string) map[string]any {
	b.t.Helper()
	got := b.do("state", "not", []string{"starting", "reading"})
	if got["state"] != want {
		b.t.Fatalf("the app says %v, want %s", got, want)
	}
	return got["result"].(map[string]any)
}

// A SMART app that knows nothing of the gateway, with the library that such apps
// use, in a browser that people use: it logs in with a card, reads a record, comes
// back without a PIN while the card is in, and is out when the card is.
func TestBrowserLogin(t *testing.T) {
	b := newBrowser(t)
	card := b.card(b.world.Professionals, "282864711")
	b.insert(card)

	b.do("open", "url", b.app+"/chart/")
	b.do("wait", "selector", "input[name=pin]")
	if got := b.do("look"); got["scripts"] != float64(0) || !strings.Contains(got["text"].(string), "The Chart") {
		t.Errorf("the login page: %v", got)
	}
	b.do("fill", "selector", "input[name=pin]", "value", "111111")
	b.do("click", "selector", "button[value=login]")
	b.do("wait", "selector", ".trouble")
	if card.Tries() != 2 {
		t.Errorf("%d tries left, want 2", card.Tries())
	}
	time.Sleep(1100 * time.Millisecond)
	b.do("fill", "selector", "input[name=pin]", "value", rightPIN)
	b.do("click", "selector", "button[value=login]")
	got := b.arrives("read")
	if got["patient"] != "p1" || got["user"] != "Practitioner/282864711" || got["refresh"] != true || !strings.Contains(got["scope"].(string), "user/*.rs") {
		t.Errorf("the app got %v", got)
	}
	b.stolen(got["token"].(string), "DPoP")

	// Another tab starts over: a click, and no PIN, while the card is in.
	b.do("tab")
	b.do("open", "url", b.app+"/chart/")
	b.do("wait", "selector", "button[value=continue]")
	b.do("click", "selector", "button[value=continue]")
	b.arrives("read")

	// So does the program that came as it is, bound to the computer's address.
	b.do("tab")
	b.do("open", "url", b.app+"/legacy/")
	b.do("wait", "selector", "button[value=continue]")
	b.do("click", "selector", "button[value=continue]")
	b.arrives("read")

	out := time.Now()
	b.slot.Remove()
	b.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	t.Logf("session over %v after the card left", time.Since(out).Round(time.Millisecond))
	// syncd reads of it a moment later.
	for by := out.Add(patience); ; {
		b.do("click", "selector", "#again")
		got := b.do("state", "not", []string{"starting", "reading"})
		if got["state"] == "refused" || time.Now().After(by) {
			break
		}
	}
	if got := b.arrives("refused"); got["status"] != float64(http.StatusUnauthorized) {
		t.Errorf("after the card left the app got %v", got)
	}
}

// stolen tries a token where its key is not.
func (b *browser) stolen(token, scheme string) {
	b.t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	for _, how := range []string{"Bearer", "DPoP"} {
		req, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:"+b.fhir+"/fhir/R4/Patient/p1", nil)
		if err != nil {
			b.t.Fatal(err)
		}
		req.Header.Set("Authorization", how+" "+token)
		resp, err := c.Do(req)
		if err != nil {
			b.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			b.t.Errorf("a stolen %s token, used as %s: %s", scheme, how, resp.Status)
		}
	}
}
