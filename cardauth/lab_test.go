package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

const (
	rightPIN = "123456"
	room     = "consulting-1"

	patience = 30 * time.Second // for what must come
)

// A desk is a consulting room: the real cardauth and pcscd, a virtual card's
// slot, and a workstation.
type desk struct {
	t       testing.TB
	world   *pki.World
	pcscd   *pcscd.Daemon
	slot    *pivcard.Slot
	dir     string
	addr    string
	ws      *http.Client // the room's workstation
	wsCert  *pki.Device
	program *exec.Cmd
	log     lockedBuffer
	place   place

	mu   sync.Mutex
	last *wire.Card
	at   time.Time // when last arrived
	more chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newDesk starts everything; spoil may change the folders before cardauth starts.
func newDesk(t testing.TB, spoil ...func(*desk)) *desk {
	t.Helper()
	lab.Require(t, append(pcscd.Needs(), lab.Program("go"))...)
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, world: world, slot: pivcard.NewSlot(), dir: t.TempDir(), more: make(chan struct{}, 1)}
	if _, measured := t.(*testing.B); !measured {
		urgent()
	}
	d.place.local()
	d.pcscd = pcscd.Start(t)
	d.pcscd.Plug(t, d.slot, 0)
	d.files()
	for _, f := range spoil {
		f(d)
	}
	d.start()
	d.until("the first publication", func(*wire.Card) bool { return true })
	d.serves()
	d.ws, d.wsCert = d.workstation("ws-1")
	return d
}

// files writes the site file, anchors and secrets.
func (d *desk) files() {
	d.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	d.addr = l.Addr().String()
	l.Close()
	example, err := os.ReadFile("../docs/site.example.toml")
	if err != nil {
		d.t.Fatal(err)
	}
	text := strings.NewReplacer(`listen  = ":8444"`, fmt.Sprintf("listen = %q", d.addr), `"Gemalto"`, fmt.Sprintf("%q", pcscd.ReaderName)).Replace(string(example))
	d.memory()
	for _, sub := range []string{"site", "state"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.dir, "site", "site.toml"), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := d.world.WriteAnchors(filepath.Join(d.dir, "site", "anchors")); err != nil {
		d.t.Fatal(err)
	}
	gateway, err := d.world.Gateway(net.IPv4(127, 0, 0, 1), net.IPv4(10, 20, 0, 2))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := gateway.Write(filepath.Join(d.dir, "secrets"), "tls"); err != nil {
		d.t.Fatal(err)
	}
}

// memory makes the run directory, in memory as on the box: a file system of a disk
// may flush at each publication.
func (d *desk) memory() {
	d.t.Helper()
	where := "/dev/shm"
	if _, err := os.Stat(where); err != nil {
		where = ""
	}
	run, err := os.MkdirTemp(where, "cg-card-run")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { os.RemoveAll(run) })
	if err := os.Symlink(run, filepath.Join(d.dir, "run")); err != nil {
		d.t.Fatal(err)
	}
}

// A place is where cardauth runs and its workstation is.
type place struct {
	put  func(*exec.Cmd) // moves a program to cardauth's side
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// local is this machine.
func (p *place) local() {
	p.put = func(*exec.Cmd) {}
	p.dial = (&net.Dialer{}).DialContext
}

func (d *desk) start() {
	d.t.Helper()
	d.launch()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = wirefile.Follow(ctx, filepath.Join(d.dir, "run"), wire.CardFile, d.arrived, func(err error) { d.t.Error(err) })
	}()
	d.t.Cleanup(func() {
		_ = d.program.Process.Signal(os.Interrupt)
		_ = d.program.Wait()
		cancel()
		<-done
		if text := d.log.String(); strings.Contains(text, rightPIN) {
			d.t.Errorf("the PIN is in the log:\n%s", text)
		} else if d.t.Failed() {
			d.t.Logf("cardauth said:\n%s", text)
		}
	})
}

// urgent has this process, whose goroutines are the cards, run before others, as
// its children cardauth and pcscd then do: a card that does not answer in a third
// of a second is gone, and must be so for its own fault, not for a busy machine's.
func urgent() {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if id, err := strconv.Atoi(task.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, -before) // not root: as it is
		}
	}
}

const before = 10 // steps of niceness

// calm is a program that runs as others do.
func calm(args ...string) *exec.Cmd {
	return exec.Command("nice", append([]string{"-n", strconv.Itoa(before)}, args...)...)
}

// binaries are what was built so far, by package: each once, for all tests.
var binaries = struct {
	sync.Mutex
	dir string
	by  map[string]string
}{by: map[string]string{}}

// TestMain removes what was built.
func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// built returns the program of a package.
func built(t testing.TB, pkg string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "cg-card-bin")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // other users run them too
			t.Fatal(err)
		}
		binaries.dir = dir
	}
	if binaries.by[pkg] == "" {
		bin := filepath.Join(binaries.dir, fmt.Sprintf("program-%d", len(binaries.by)))
		if out, err := calm("go", "build", "-o", bin, pkg).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
		binaries.by[pkg] = bin
	}
	return binaries.by[pkg]
}

// launch starts the program.
func (d *desk) launch() {
	d.t.Helper()
	path := func(sub string) string { return filepath.Join(d.dir, sub) }
	d.program = exec.Command(built(d.t, "."), "-debug", "-site", path("site/site.toml"), "-secrets", path("secrets"), "-state", path("state"), "-run", path("run"))
	d.place.put(d.program)
	d.program.Env = d.pcscd.Env()
	d.program.Stderr = &d.log
	if err := proc.Bound(d.program); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends the program without a word.
func (d *desk) kill() {
	d.t.Helper()
	if err := d.program.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	_ = d.program.Wait()
}

// wait looks until ok says so.
func (d *desk) wait(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("never seen: %s", what)
		}
	}
}

// serves waits for the login endpoint.
func (d *desk) serves() {
	d.t.Helper()
	d.wait("the login endpoint", func() bool {
		c, err := d.place.dial(d.t.Context(), "tcp", d.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// control asks the control socket and returns the answer.
func (d *desk) control(method, path string, body io.Reader) (int, string) {
	d.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dial net.Dialer
		return dial.DialContext(ctx, "unix", filepath.Join(d.dir, "run", "cardauth.sock"))
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://cardauth"+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func (d *desk) arrived(c *wire.Card) {
	d.mu.Lock()
	d.last, d.at = c, time.Now()
	d.mu.Unlock()
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// until waits for a cardauth.json that is ok and returns when it arrived.
func (d *desk) until(what string, ok func(*wire.Card) bool) time.Time {
	d.t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		last, at := d.last, d.at
		d.mu.Unlock()
		if last != nil && ok(last) {
			return at
		}
		select {
		case <-d.more:
		case <-late:
			d.t.Fatalf("never seen in cardauth.json: %s; it says %+v", what, last)
		}
	}
}

func reader(state string) func(*wire.Card) bool {
	return func(c *wire.Card) bool { return len(c.Readers) == 1 && c.Readers[0].State == state }
}

func (d *desk) fault(id string) { d.t.Helper(); d.until("fault "+id, hasFault(id)) }

func hasFault(id string) func(*wire.Card) bool {
	return func(c *wire.Card) bool {
		for _, f := range c.Faults {
			if f.ID == id {
				return true
			}
		}
		return false
	}
}

// workstation is an HTTPS client with a certificate of its own.
func (d *desk) workstation(name string) (*http.Client, *pki.Device) {
	d.t.Helper()
	return d.device("workstation", name)
}

// device is the same for any kind of device.
func (d *desk) device(kind, name string) (*http.Client, *pki.Device) {
	d.t.Helper()
	dev, err := d.world.Client(kind, name)
	if err != nil {
		d.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(d.world.Devices.Cert)
	tr := &http.Transport{DialContext: d.place.dial, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{dev.TLS()}, ServerName: pki.GatewayName}}
	d.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}, dev
}

// card makes a card for a doctor, certified by ca.
func (d *desk) card(ca *pki.CA, registration string, options ...pivcard.Option) *pivcard.Card {
	d.t.Helper()
	c, err := pivcard.New(rightPIN, options...)
	if err != nil {
		d.t.Fatal(err)
	}
	p := pki.Person{Name: "Dr " + registration, Registration: registration, Profession: pki.Doctor, GUID: c.GUID()}
	der, err := ca.CardCertificate(p, 0x9A, c.Public(0x9A))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := c.PutCertificate(0x9A, der); err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (d *desk) insert(c *pivcard.Card) {
	d.t.Helper()
	if err := d.slot.Insert(c); err != nil {
		d.t.Fatal(err)
	}
	d.until("the card in", reader(wire.ReaderCard))
}

func (d *desk) remove() {
	d.t.Helper()
	d.slot.Remove()
	d.until("an empty reader", reader(wire.ReaderEmpty))
}

// An answer is what an endpoint said.
type answer struct {
	Status  int    `json:"-"`
	Type    string `json:"type"`
	Detail  string `json:"detail"`
	Tries   *int   `json:"tries_left"`
	Token   string `json:"token"`
	Expires int    `json:"expires_in"`
	Session struct {
		ID      string `json:"sid"`
		Role    string `json:"role"`
		Subject string `json:"sub"`
		Room    string `json:"room"`
	} `json:"session"`
}

func (d *desk) call(c *http.Client, path, token, body string) answer {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "https://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	a := answer{Status: resp.StatusCode}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &a); err != nil {
			d.t.Fatalf("%s: %v in %q", path, err, data)
		}
	}
	return a
}

func (d *desk) login(pin string) answer {
	d.t.Helper()
	return d.call(d.ws, "/v1/login", "", fmt.Sprintf(`{"room":%q,"pin":%q}`, room, pin))
}

// mustLogin logs in and waits for the session in cardauth.json.
func (d *desk) mustLogin() answer {
	d.t.Helper()
	a := d.login(rightPIN)
	if a.Status != http.StatusOK {
		d.t.Fatalf("login: %+v", a)
	}
	d.until("the session", lists(a.Session.ID))
	return a
}

func lists(sid string) func(*wire.Card) bool {
	return func(c *wire.Card) bool {
		for _, s := range c.Sessions {
			if s.ID == sid {
				return true
			}
		}
		return false
	}
}

func (d *desk) refused(a answer, status int, kind string) {
	d.t.Helper()
	if a.Status != status || a.Type != kind || a.Token != "" || a.Detail == "" {
		d.t.Errorf("got %+v, want %d %s", a, status, kind)
	}
}
