package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/pki"
	"clinicgate/syncd/vault"
	"clinicgate/syncd/vault/remote"
)

// TestMain lets a test start this program: the test binary is trustee when told so.
func TestMain(m *testing.M) {
	if os.Getenv("CLINICGATE_TEST_PROGRAM") == "trustee" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A hub is trustee as a process, and its members' certificates.
type hub struct {
	t     *testing.T
	dir   string
	world *pki.World
	at    string
	proc  *exec.Cmd
	log   *bytes.Buffer
}

func newHub(t *testing.T) *hub {
	t.Helper()
	world, err := pki.New(time.Now())
	must(t, err)
	h := &hub{t: t, dir: t.TempDir(), world: world}
	own, err := world.Gateway(net.ParseIP("127.0.0.1"))
	must(t, err)
	h.write("trustee", own)
	must(t, os.WriteFile(h.path("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: world.Devices.Cert.Raw}), 0o600))
	for _, name := range []string{"ops-1", "boss-1", "T-1-a", "T-2-a"} {
		h.member(name)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.at = l.Addr().String()
	l.Close()
	t.Cleanup(func() { h.stop() })
	h.start()
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *hub) path(p string) string { return filepath.Join(h.dir, p) }

func (h *hub) member(name string) {
	h.t.Helper()
	d, err := h.world.Client("member", name)
	must(h.t, err)
	h.write(name, d)
}

func (h *hub) write(name string, d *pki.Device) {
	h.t.Helper()
	must(h.t, d.Write(h.dir, name))
}

func (h *hub) start() {
	h.t.Helper()
	h.log = &bytes.Buffer{}
	h.proc = exec.Command(os.Args[0], "serve", "-dir", h.dir, "-listen", h.at, "-cert", h.path("trustee.crt"), "-key", h.path("trustee.key"), "-clients", h.path("ca.pem"))
	h.proc.Env = append(os.Environ(), "CLINICGATE_TEST_PROGRAM=trustee")
	h.proc.Stderr = h.log
	must(h.t, h.proc.Start())
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", h.at)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("it does not listen: %v", err)
		}
	}
}

// stop is kill -9; it returns the log.
func (h *hub) stop() string {
	if h.proc == nil {
		return ""
	}
	_ = h.proc.Process.Kill()
	_ = h.proc.Wait()
	h.proc = nil
	return h.log.String()
}

// ask is the command line, as a member.
func (h *hub) ask(who, what string, args ...string) (string, error) {
	out := &bytes.Buffer{}
	err := ask(context.Background(), what, append([]string{"-at", "https://" + h.at, "-cert", h.path(who + ".crt"), "-key", h.path(who + ".key"), "-ca", h.path("ca.pem")}, args...), out)
	return out.String(), err
}

func (h *hub) did(who, what string, args ...string) string {
	h.t.Helper()
	out, err := h.ask(who, what, args...)
	if err != nil {
		h.t.Fatalf("%s %v: %v", what, args, err)
	}
	return out
}

// box is the vault of a box that asks this trustee.
func (h *hub) box(name, dir string, shared ...string) *vault.Vault {
	h.t.Helper()
	base, err := url.Parse("https://" + h.at)
	must(h.t, err)
	c := remote.New(base, h.path("ca.pem"), h.path(name+".crt"), h.path(name+".key"))
	v, err := vault.New(vault.Options{Dir: dir, Site: name[:3], Box: name, Trustee: c, Shared: shared})
	must(h.t, err)
	return v
}

// A clinic's keys from end to end: the members are enrolled, a box gets its keys over
// the line, its manager shares a domain, takes it back, rotates and shreds; the third
// party is killed in between; what is sealed opens where it should and nowhere else.
func TestKeysOverTheLine(t *testing.T) {
	h := newHub(t)
	h.did("ops-1", "enrol", "-name", "ops-1", "-role", "ops")
	h.did("ops-1", "enrol", "-name", "boss-1", "-role", "manager", "-site", "T-1")
	dir := t.TempDir()
	a := h.box("T-1-a", dir)
	if _, err := a.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "not a member") {
		t.Errorf("before it was enrolled: %v", err)
	}
	h.did("ops-1", "enrol", "-name", "T-1-a", "-role", "box", "-site", "T-1", "-wrap", a.Fingerprint())
	h.did("ops-1", "enrol", "-name", "T-2-a", "-role", "box", "-site", "T-2")
	_, err := a.Refresh(t.Context())
	must(t, err)
	consults := a.Domain(vault.Consults)
	sealed := consults.Seal(nil, []byte("text"), []byte("id"))

	h.stop()
	h.start()
	b := h.box("T-2-a", t.TempDir(), "T-1/consults")
	if _, err := b.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "T-2 has no access to T-1/consults") {
		t.Errorf("not shared: %v", err)
	}
	h.did("boss-1", "share", "-domain", "T-1/consults", "-with", "T-2")
	_, err = b.Refresh(t.Context())
	must(t, err)
	if got, err := b.Domain("T-1/consults").Open(nil, sealed, []byte("id")); err != nil || string(got) != "text" {
		t.Errorf("shared: got %q, %v", got, err)
	}
	h.did("boss-1", "unshare", "-domain", "T-1/consults", "-with", "T-2")
	if _, err := b.Refresh(t.Context()); err == nil || b.Locked() == nil {
		t.Errorf("shared no more: %v, %v", err, b.Locked())
	}
	h.did("boss-1", "rotate", "-domain", "T-1/consults")
	if news, err := a.Refresh(t.Context()); err != nil || len(news.Rotated) != 1 {
		t.Errorf("rotated: got %+v, %v", news, err)
	}
	if got, err := consults.Open(nil, sealed, []byte("id")); err != nil || string(got) != "text" {
		t.Errorf("after rotation: got %q, %v", got, err)
	}
	h.did("boss-1", "shred", "-domain", "T-1/consults")
	if news, err := a.Refresh(t.Context()); err != nil || len(news.Shredded) != 1 {
		t.Errorf("shredded: got %+v, %v", news, err)
	}
	if _, err := h.box("T-1-a", dir).Domain(vault.Consults).Open(nil, sealed, []byte("id")); err == nil {
		t.Error("what was shredded opens")
	}
	if out := h.did("boss-1", "show"); !strings.Contains(out, `{"domain":"T-1/consults","use":3`) {
		t.Errorf("show: %s", out)
	}
	h.did("ops-1", "revoke", "-name", "T-1-a", "-why", "stolen")
	if _, err := a.Refresh(t.Context()); err == nil || a.Locked() == nil {
		t.Errorf("revoked: %v, %v", err, a.Locked())
	}
	if log := h.stop(); !strings.Contains(log, "by=T-1-a") || !strings.Contains(log, "domain=T-1/consults") || !strings.Contains(log, "why=stolen") {
		t.Errorf("the log does not say who had which key:\n%s", log)
	}
}

// Who has no certificate of a member gets no answer; who pretends to be the third
// party gets no question.
func TestAttackStrangers(t *testing.T) {
	h := newHub(t)
	h.did("ops-1", "enrol", "-name", "ops-1", "-role", "ops")
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 20 * time.Second}
	if resp, err := plain.Post("https://"+h.at+"/v1/show", "application/json", strings.NewReader("{}")); err == nil {
		resp.Body.Close()
		t.Error("answered without a certificate")
	}
	other, err := pki.New(time.Now())
	must(t, err)
	foreign, err := other.Client("member", "ops-1")
	must(t, err)
	h.write("foreign", foreign)
	if out, err := h.ask("foreign", "show"); err == nil {
		t.Errorf("answered another CA's ops: %s", out)
	}
	fake, err := other.Gateway(net.ParseIP("127.0.0.1"))
	must(t, err)
	mine, err := h.world.Client("member", "T-9") // a member is not the third party
	must(t, err)
	named, err := h.world.Gateway() // nor is a server of another name
	must(t, err)
	for name, pair := range map[string]tls.Certificate{"another CA": fake.TLS(), "a client's certificate": mine.TLS(), "another host's": named.TLS()} {
		asked := false
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		must(t, err)
		srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true })}
		go srv.Serve(l)
		base, err := url.Parse("https://" + l.Addr().String())
		must(t, err)
		err = remote.New(base, h.path("ca.pem"), h.path("ops-1.crt"), h.path("ops-1.key")).Do(t.Context(), "show", order{}, nil)
		srv.Close()
		if err == nil || asked {
			t.Errorf("%s: asked (%v), %v", name, asked, err)
		}
	}
}

// What is no question is refused by a line, and what is too long is not read.
func TestNonsense(t *testing.T) {
	h := newHub(t)
	own, err := tls.LoadX509KeyPair(h.path("ops-1.crt"), h.path("ops-1.key"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(h.world.Devices.Cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}}, Timeout: 20 * time.Second}
	for path, want := range map[string]int{"/v1/deed": 400, "/v1/enrol": 400, "/v1/show": 403, "/v1/none": 404} {
		body := strings.NewReader("{}")
		if path == "/v1/enrol" {
			body = strings.NewReader(`{"name":"` + strings.Repeat("a", 1<<20) + `"}`)
		}
		resp, err := client.Post("https://"+h.at+path, "application/json", body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
		}
	}
	for _, args := range [][]string{{"serve", "-hold", "1s"}, {"serve", "-dir", t.TempDir()}, {"none"}, {"show"}, {"share", "-at", "http://x", "-cert", "c", "-key", "k", "-ca", "a", "-domain", "d", "-with", "w"}, nil} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: no word", args)
		}
	}
}
