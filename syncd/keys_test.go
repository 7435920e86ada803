package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/trustee/book"
	"clinicgate/syncd/vault/deed"
)

// A trustee is the third party's book behind mutual TLS.
type trustee struct {
	c    *clinic
	dir  string
	srv  *httptest.Server
	book atomic.Pointer[book.Book]
	gone atomic.Bool
}

type prf string

func (p prf) Sum(text []byte) ([32]byte, error) {
	mac := hmac.New(sha256.New, []byte(p))
	mac.Write(text)
	return [32]byte(mac.Sum(nil)), nil
}

func newTrustee(c *clinic) *trustee {
	c.t.Helper()
	d := &trustee{c: c, dir: c.t.TempDir()}
	d.hold(time.Hour)
	c.must(d.book.Load().Enrol("ops", "ops", book.Member{Role: book.Ops}))
	c.must(d.book.Load().Enrol("ops", "boss", book.Member{Role: book.Manager, Site: "T-1"}))
	c.must(d.book.Load().Enrol("ops", "T-1-a", book.Member{Role: book.Box, Site: "T-1"}))
	own, err := c.world.Gateway(net.ParseIP("127.0.0.1"))
	c.must(err)
	box, err := c.world.Client("box", "T-1-a")
	c.must(err)
	c.must(box.Write(c.path("secrets"), "trustee"))
	pool := x509.NewCertPool()
	pool.AddCert(c.world.Devices.Cert)
	d.srv = httptest.NewUnstartedServer(d)
	d.srv.TLS = &tls.Config{Certificates: []tls.Certificate{own.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	d.srv.StartTLS()
	c.t.Cleanup(d.srv.Close)
	return d
}

// hold opens the book with another bound of deeds.
func (d *trustee) hold(bound time.Duration) {
	d.c.t.Helper()
	b, err := book.Open(d.dir, prf("secret"), bound)
	d.c.must(err)
	d.book.Store(b)
}

func (d *trustee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a deed.Ask
	if d.gone.Load() || json.NewDecoder(r.Body).Decode(&a) != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	by := r.TLS.PeerCertificates[0].Subject.CommonName
	sealed, err := d.book.Load().Deed(by, a, time.Now())
	var no *book.Refused
	if errors.As(err, &no) {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(no)
		return
	}
	_ = json.NewEncoder(w).Encode(deed.Answer{V: 1, Box: by, Sealed: sealed})
}

// site adds to the site file.
func (c *clinic) site(more string) {
	c.t.Helper()
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(readFile(c.t, c.path("site/site.toml"))+more), 0o644))
}

func (c *clinic) held() (k wire.Keys) {
	c.t.Helper()
	c.must(json.Unmarshal([]byte(c.control("/keys")), &k))
	return k
}

// use is the number of the key that a domain seals with; -1: it is not told.
func (c *clinic) use(domain string) int {
	resp, err := unixClient(c.path("run/syncd.sock")).Get("http://syncd/keys")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var k wire.Keys
	if json.NewDecoder(resp.Body).Decode(&k) != nil {
		return -1
	}
	for _, d := range k.Domains {
		if strings.HasSuffix("/"+d.Name, "/"+domain) {
			return d.Use
		}
	}
	return -1
}

// ends waits until syncd has ended by itself.
func (c *clinic) ends() {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.proc.Wait() }()
	select {
	case err := <-done:
		if err == nil {
			c.t.Error("it ended well, and would not be started again at once")
		}
		c.proc = nil
		c.http.CloseIdleConnections()
	case <-time.After(60 * time.Second):
		c.t.Fatal("syncd does not end")
	}
}

// The keys of a box from an earlier release, which comes under the third party: what
// is stored stays readable, a new key comes into use while it works, nothing opens
// when the third party was away too long, everything when it is back, and nothing of
// what was shredded.
func TestKeysFromTheThirdParty(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	c.keys()
	c.uplink("isp-a")
	c.card(c.doctor())
	key := bytes.Repeat([]byte{1}, 64)
	sum := sha256.Sum256(key)
	c.must(os.WriteFile(c.path("secrets/master.key"), fmt.Appendf(nil, "clinicgate-master-1 %x %x %x\n", key[:32], key[32:], sum[:4]), 0o600))
	c.start()
	c.listening()
	c.read("Patient/p1-secret", 200)
	if _, err := os.Stat(c.path("secrets/master.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the earlier release's key is still there: %v", err)
	}
	if k := c.held(); k.Trustee != "" || c.use("ehr-cache") != 0 || len(k.Wrap) != 64 {
		t.Errorf("got %+v", k)
	}
	c.kill()

	d := newTrustee(c)
	d.gone.Store(true)
	c.site(fmt.Sprintf("[sync.vault]\ntrustee = %q\nca = \"devices.pem\"\nevery = \"1s\"\n", d.srv.URL))
	c.ehr.down.Store(true)
	c.start()
	c.listening()
	c.wait("word of the missing third party", func() bool { return c.fault(faultTrustee) })
	c.read("Patient/p1-secret", 200)
	d.gone.Store(false)
	c.wait("the third party's key", func() bool { return c.use("ehr-cache") == 1 })
	c.wait("an end of the fault", func() bool { return !c.fault(faultTrustee) })
	c.read("Patient/p1-secret", 200)
	c.must(d.book.Load().Rotate("boss", "T-1/ehr-cache", time.Now()))
	c.wait("a new key", func() bool { return c.use("ehr-cache") == 2 })
	c.read("Patient/p1-secret", 200)

	d.hold(time.Second)
	d.gone.Store(false)
	c.wait("a short deed", func() bool {
		for _, h := range c.heldOrNone() {
			if !h.Until.IsZero() && time.Until(h.Until) < time.Minute {
				d.gone.Store(true)
				return true
			}
		}
		return c.exited()
	})
	d.gone.Store(true)
	c.ends()
	c.must(os.Remove(c.path("run/" + wire.SyncFile)))
	c.start()
	c.wait("word of the locked keys", func() bool { return c.fault(faultStore) })
	if text := fmt.Sprint(c.status().Faults); !strings.Contains(text, "third party was last heard of") {
		t.Errorf("got %s", text)
	}
	d.hold(time.Hour)
	d.gone.Store(false)
	c.within(60*time.Second, "an end of the lock", func() bool { return c.use("ehr-cache") == 2 })
	c.listening()
	c.read("Patient/p1-secret", 200) // with the EHR out of reach all the time

	c.must(d.book.Load().Shred("boss", "T-1/ehr-cache", time.Now()))
	c.ends()
	c.start()
	c.listening()
	c.wait("word of the shredding", func() bool { return c.fault(faultShredded) })
	c.read("Patient/p1-secret", http.StatusGatewayTimeout)
	c.ehr.down.Store(false)
	c.wait("the record, read anew", func() bool { return c.allowed("Patient/p1-secret") })
	if c.use("ehr-cache") != 3 || c.use("audit") != 1 {
		t.Errorf("got %+v", c.held())
	}
}

func (c *clinic) heldOrNone() []wire.Domain {
	resp, err := unixClient(c.path("run/syncd.sock")).Get("http://syncd/keys")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var k wire.Keys
	_ = json.NewDecoder(resp.Body).Decode(&k)
	return k.Domains
}

// exited reports that syncd is a zombie, or gone.
func (c *clinic) exited() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.proc.Process.Pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// What the clinic knows of its patients is nowhere on the disk in the clear: not what
// was read, searched for, uploaded or noted, nor in a log, however syncd stopped.
func TestNothingOnTheDiskInTheClear(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("storescu", "echoscu"))
	c := newClinic(t)
	words := []string{"p1-secret", "Zuckerkandl", "1931-07-29", "642341", "Observation?patient", "o1-secret"}
	c.ehr.set("Patient/p1-secret", `{"resourceType":"Patient","id":"p1-secret","birthDate":"1931-07-29","name":[{"family":"Zuckerkandl","given":["Emil"]}]}`)
	c.ehr.set("Observation?patient=Patient/p1-secret&_count=500", search)
	port := freePort(t)
	c.site(fmt.Sprintf("[sync.dicom]\nlisten = \"127.0.0.1:%s\"\ntitle = \"CLINICGATE\"\n[[sync.destination]]\nname = \"hospital\"\nkind = \"stow\"\nurl = \"http://127.0.0.1:9/dicom-web\"\naccepts = [\"dicom\"]\n", port))
	c.keys()
	c.uplink("isp-a")
	c.card(c.doctor())
	c.start()
	c.listening()
	c.read("Patient/p1-secret", 200)
	c.read("Observation?patient=p1-secret", 200)
	c.read("Patient?name=Zuckerkandl", http.StatusNotFound) // the EHR of this test knows no such search
	c.wait("DICOM node", func() bool {
		return exec.Command("echoscu", "-aec", "CLINICGATE", "127.0.0.1", port).Run() == nil
	})
	out, err := exec.Command("storescu", "-aec", "CLINICGATE", "127.0.0.1", port, "../image/lab/testdata/ecg/12lead.dcm").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := func() (where []string, files int) {
		for _, dir := range []string{"state", "secrets", "run", "site"} {
			c.must(filepath.WalkDir(c.path(dir), func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				data, err := os.ReadFile(path)
				files++
				for _, w := range words {
					if bytes.Contains(data, []byte(w)) {
						where = append(where, w+" in "+path)
					}
				}
				return err
			}))
		}
		return where, files
	}
	c.kill()
	for range 2 { // with what a start writes, too
		where, files := found()
		if len(where) > 0 || files < 6 {
			t.Errorf("in the clear, among %d files: %v", files, where)
		}
		c.start()
		c.listening()
		c.read("Patient/p1-secret", 200)
		c.kill()
	}
	for _, w := range words {
		if strings.Contains(c.log.String(), w) {
			t.Errorf("%s is in the log", w)
		}
	}
	c.must(os.WriteFile(c.path("state/planted"), []byte("Emil Zuckerkandl"), 0o600))
	if where, _ := found(); len(where) != 1 {
		t.Errorf("the search found %v, want the planted file alone", where)
	}
}
