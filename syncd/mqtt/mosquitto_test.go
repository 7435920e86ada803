package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/mqtt/pending"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/vault"
)

// A node is a server on loopback with a queue in memory behind it, and the
// certificates of its world on disk.
type node struct {
	addr   string
	dir    string // devices.pem, NAME.crt, NAME.key
	world  *pki.World
	queue  *memqueue.Queue
	faults *memqueue.Faults
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newDomain(t *testing.T) *vault.Domain {
	t.Helper()
	return must[*vault.Vault](t)(vault.Open(t.TempDir())).Domain("devices")
}

func openIDs(t *testing.T, dir string, d *vault.Domain) *pending.Store {
	t.Helper()
	ids, lost, err := pending.Open(dir, d)
	if err != nil || lost != 0 {
		t.Fatalf("ids: lost %d, %v", lost, err)
	}
	return ids
}

func openParts(t *testing.T, dir string, d *vault.Domain) *partial.Store {
	t.Helper()
	parts, lost, err := partial.Open(dir, d, partial.Limits{})
	if err != nil || lost != 0 {
		t.Fatalf("parts: lost %d, %v", lost, err)
	}
	return parts
}

func start(t *testing.T, change func(*Options)) *node {
	t.Helper()
	world := must[*pki.World](t)(pki.New(time.Now()))
	gateway := must[*pki.Device](t)(world.Gateway(net.IPv4(127, 0, 0, 1)))
	pool := x509.NewCertPool()
	pool.AddCert(world.Devices.Cert)
	n := &node{dir: t.TempDir(), world: world, queue: &memqueue.Queue{}, faults: &memqueue.Faults{}, log: &syncBuffer{}}
	if err := world.WriteAnchors(n.dir); err != nil {
		t.Fatal(err)
	}
	n.device(t, "ecg-1")
	ids := openIDs(t, t.TempDir(), newDomain(t))
	o := Options{
		IDs: ids, Parts: openParts(t, t.TempDir(), newDomain(t)), TLS: &tls.Config{Certificates: []tls.Certificate{gateway.TLS()}, ClientCAs: pool},
		Door: ingest.New(n.queue, n.faults), Faults: n.faults, Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s := must[*Server](t)(New(o))
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	n.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	return n
}

func (n *node) device(t *testing.T, name string) *pki.Device {
	t.Helper()
	d := must[*pki.Device](t)(n.world.Client("mqtt", name))
	if err := d.Write(n.dir, name); err != nil {
		t.Fatal(err)
	}
	return d
}

// pub runs mosquitto_pub as a device and returns what it said.
func (n *node) pub(t *testing.T, device string, args ...string) (string, error) {
	t.Helper()
	return n.start(t, device, args...)()
}

// start starts mosquitto_pub and returns what waits for it.
func (n *node) start(t *testing.T, device string, args ...string) func() (string, error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(n.addr)
	all := []string{"-d", "-h", host, "-p", port, "--cafile", filepath.Join(n.dir, "devices.pem"), "-i", "cart"}
	if device != "" {
		all = append(all, "--cert", filepath.Join(n.dir, device+".crt"), "--key", filepath.Join(n.dir, device+".key"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	cmd := exec.CommandContext(ctx, "mosquitto_pub", append(all, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		defer cancel()
		err := cmd.Wait()
		return out.String(), err
	}
}

const scp = "../format/testdata/ecgtoolkit_example.scp"

var versions = []string{"311", "5"}

func publish(version, topic, file string) []string {
	return []string{"-V", version, "-q", "1", "-t", topic, "-f", file}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func TestPublish(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			n := start(t, nil)
			for range 2 { // the second is the same item
				out, err := n.pub(t, "ecg-1", publish(v, "clinic/ecg-1/ecg", scp)...)
				if err != nil || !strings.Contains(out, "received PUBACK (Mid: 1, RC:0)") {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			want := must[[]byte](t)(os.ReadFile(scp))
			items := n.queue.Items()
			if len(items) != 1 || !bytes.Equal(items[0].Body, want) || items[0].Origin != "ecg-1" {
				t.Fatalf("%d items", len(items))
			}
			if s := n.log.String(); !strings.Contains(s, "mqtt stored") || strings.Contains(s, "Clark") || strings.Contains(s, "SBJ-123") {
				t.Errorf("log:\n%s", s)
			}
		})
	}
}

// Devices are old, and some say in the handshake what they want to speak.
func TestHandshakes(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	n := start(t, func(o *Options) { o.TLS.NextProtos = []string{"h2"} })
	for _, more := range [][]string{{"--tls-version", "tlsv1.2"}, {"--tls-version", "tlsv1.3"}, {"--tls-alpn", "mqtt"}} {
		if out, err := n.pub(t, "ecg-1", append(more, publish("5", "clinic/ecg-1/ecg", scp)...)...); err != nil || !strings.Contains(out, "RC:0") {
			t.Errorf("%v: %v\n%s", more, err, out)
		}
	}
}

// PUBACK comes after the queue has the item, not before.
func TestAckWaitsForTheQueue(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			n := start(t, nil)
			release := n.queue.Block()
			defer release()
			wait := n.start(t, "ecg-1", publish(v, "clinic/ecg-1/ecg", scp)...)
			waitFor(t, "accept", func() bool { return n.queue.Calls() == 1 })
			ended := make(chan string, 1)
			go func() {
				out, _ := wait()
				ended <- out
			}()
			select {
			case out := <-ended:
				t.Fatalf("ended while nothing was kept:\n%s", out)
			case <-time.After(300 * time.Millisecond):
			}
			release()
			if out := <-ended; !strings.Contains(out, "received PUBACK") {
				t.Errorf("afterwards:\n%s", out)
			}
		})
	}
}

// What could not be kept is not acknowledged and ends the connection.
func TestFailureWithholdsTheAck(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	for _, v := range versions {
		for name, fail := range map[string]func(*memqueue.Queue){
			"full": func(q *memqueue.Queue) { q.SetFull(true) },
			"disk": func(q *memqueue.Queue) { q.SetError(memqueue.ErrDisk) },
		} {
			t.Run(v+" "+name, func(t *testing.T) {
				n := start(t, nil)
				fail(n.queue)
				out, err := n.pub(t, "ecg-1", publish(v, "clinic/ecg-1/ecg", scp)...)
				if strings.Contains(out, "PUBACK") || err == nil && v == "311" {
					t.Errorf("%v\n%s", err, out)
				}
				if v == "5" && !strings.Contains(out, map[string]string{"full": "(151)", "disk": "(128)"}[name]) {
					t.Errorf("no reason in\n%s", out)
				}
				n.queue.SetFull(false)
				n.queue.SetError(nil)
				if out, err := n.pub(t, "ecg-1", publish(v, "clinic/ecg-1/ecg", scp)...); err != nil || len(n.queue.Items()) != 1 {
					t.Errorf("afterwards: %v\n%s", err, out)
				}
			})
		}
	}
}

// Garbage is refused for good where the device can understand it, and held for a
// person where it can't.
func TestGarbage(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	n := start(t, nil)
	garbage := []string{"-q", "1", "-t", "clinic/ecg-1/ecg", "-m", "not an ECG"}
	if out, _ := n.pub(t, "ecg-1", append(garbage, "-V", "5")...); !strings.Contains(out, "RC:153") || len(n.queue.Items()) != 0 {
		t.Errorf("%d items\n%s", len(n.queue.Items()), out)
	}
	out, err := n.pub(t, "ecg-1", append(garbage, "-V", "311")...)
	items := n.queue.Items()
	if err != nil || !strings.Contains(out, "PUBACK") || len(items) != 1 || items[0].Held == "" {
		t.Errorf("%v, items %+v\n%s", err, items, out)
	}
	if len(n.faults.List()) == 0 || strings.Contains(n.log.String(), "not an ECG") {
		t.Errorf("faults %v, log\n%s", n.faults.List(), n.log)
	}
	pdf := filepath.Join(t.TempDir(), "doc.pdf")
	if err := os.WriteFile(pdf, []byte("%PDF-1.4\n%\nxref\n0 1\ntrailer\n<<>>\nstartxref\n11\n%%EOF\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := n.pub(t, "ecg-1", publish("5", "clinic/ecg-1/ecg", pdf)...); !strings.Contains(out, "RC:153") {
		t.Errorf("a PDF as an ECG:\n%s", out)
	}
	if out, err := n.pub(t, "ecg-1", publish("5", "clinic/ecg-1/document/report", pdf)...); err != nil || len(n.queue.Items()) != 2 {
		t.Errorf("a PDF as a document: %v\n%s", err, out)
	}
}

func TestRefused(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	foreign := func(t *testing.T, n *node) string { // a certificate of another CA
		other := must[*pki.World](t)(pki.New(time.Now()))
		d := must[*pki.Device](t)(other.Client("mqtt", "ecg-1"))
		if err := d.Write(n.dir, "foreign"); err != nil {
			t.Fatal(err)
		}
		return "foreign"
	}
	named := func(name string) func(*testing.T, *node) string {
		return func(t *testing.T, n *node) string {
			d := must[*pki.Device](t)(n.world.Client("mqtt", name))
			if err := d.Write(n.dir, "named"); err != nil {
				t.Fatal(err)
			}
			return "named"
		}
	}
	cart := named("ecg-1")
	for name, c := range map[string]struct {
		device func(*testing.T, *node) string
		qos    string
		topic  string
	}{
		"no certificate":         {nil, "1", "clinic/ecg-1/ecg"},
		"another CA's":           {foreign, "1", "clinic/ecg-1/ecg"},
		"wildcard in the name":   {named("+"), "1", "clinic/+/ecg"},
		"another device's topic": {cart, "1", "clinic/ecg-2/ecg"},
		"a longer name":          {cart, "1", "clinic/ecg-12/ecg"},
		"not a clinical topic":   {cart, "1", "weather"},
		"a system topic":         {cart, "1", "$SYS/broker"},
		"QoS 0":                  {cart, "0", "clinic/ecg-1/ecg"},
		"QoS 2, another's topic": {cart, "2", "clinic/ecg-2/ecg"},
	} {
		for _, v := range versions {
			t.Run(name+" "+v, func(t *testing.T) {
				n := start(t, nil)
				device := ""
				if c.device != nil {
					device = c.device(t, n)
				}
				out, err := n.pub(t, device, "-V", v, "-q", c.qos, "-t", c.topic, "-f", scp)
				if strings.Contains(out, "RC:0)") || n.queue.Calls() != 0 {
					t.Errorf("%v, %d calls\n%s", err, n.queue.Calls(), out)
				}
			})
		}
	}
}

// A device that takes another's client id doesn't take its session.
func TestClientIDsAreTheCertificates(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	n := start(t, nil)
	n.device(t, "ecg-2")
	release := n.queue.Block()
	defer release()
	first := n.start(t, "ecg-1", publish("311", "clinic/ecg-1/ecg", scp)...)
	waitFor(t, "accept", func() bool { return n.queue.Calls() == 1 })
	second := n.start(t, "ecg-2", publish("311", "clinic/ecg-2/ecg", scp)...)
	waitFor(t, "accept", func() bool { return n.queue.Calls() == 2 })
	release()
	for i, wait := range []func() (string, error){first, second} {
		if out, err := wait(); err != nil || !strings.Contains(out, "PUBACK") {
			t.Errorf("device %d: %v\n%s", i+1, err, out)
		}
	}
	if len(n.queue.Items()) != 2 {
		t.Errorf("%d items, want 2", len(n.queue.Items()))
	}
}

func TestSubscribe(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_sub"))
	n := start(t, nil)
	host, port, _ := net.SplitHostPort(n.addr)
	for topic, granted := range map[string]bool{"clinic/ecg-1/reply": true, "clinic/ecg-2/ecg": false, "#": false, "$SYS/#": false, "clinic/+/ecg": false} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		cmd := exec.CommandContext(ctx, "mosquitto_sub", "-d", "-V", "5", "-h", host, "-p", port, "-t", topic, "-E",
			"--cafile", filepath.Join(n.dir, "devices.pem"), "--cert", filepath.Join(n.dir, "ecg-1.crt"), "--key", filepath.Join(n.dir, "ecg-1.key"))
		out, _ := cmd.CombinedOutput()
		cancel()
		if got := strings.Contains(string(out), "Subscribed (mid: 1): 0"); got != granted {
			t.Errorf("%s: granted %v\n%s", topic, got, out)
		}
	}
}

// Too large a packet costs no memory; too many and silent clients no service.
func TestBounds(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	n := start(t, func(o *Options) { o.Clients, o.MaxPacket = 2, 64<<10 })
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := n.pub(t, "ecg-1", publish("311", "clinic/ecg-1/ecg", big)...); strings.Contains(out, "PUBACK") || n.queue.Calls() != 0 {
		t.Errorf("%s", out)
	}
	var silent []net.Conn
	for range 10 {
		c := must[net.Conn](t)(net.Dial("tcp", n.addr))
		silent = append(silent, c)
		defer c.Close()
	}
	closed := 0
	for _, c := range silent {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < 6 {
		t.Errorf("%d of 10 silent connections closed, want at least 6", closed)
	}
	for _, c := range silent {
		c.Close()
	}
	waitFor(t, "service again", func() bool {
		out, err := n.pub(t, "ecg-1", publish("311", "clinic/ecg-1/ecg", scp)...)
		return err == nil && strings.Contains(out, "PUBACK")
	})
}

func TestNewWantsCertificates(t *testing.T) {
	for i, c := range []*tls.Config{nil, {}, {Certificates: []tls.Certificate{{}}}, {ClientCAs: x509.NewCertPool()}} {
		if _, err := New(Options{TLS: c, IDs: &pending.Store{}, Parts: &partial.Store{}}); err == nil {
			t.Errorf("configuration %d was taken", i)
		}
	}
}

func TestTopics(t *testing.T) {
	for topic, want := range map[string]int{
		"clinic/a/ecg": 3, "clinic/a/ecg/lead/2": 3, "clinic/a/image": 1, "clinic/a/document": 1, "clinic/a/ecgs": 0,
		"clinic/a": 0, "clinic/a/": 0, "clinic/ab/ecg": 0, "clinic//ecg": 0, "": 0, "/clinic/a/ecg": 0, "clinic/b/../a/ecg": 0,
	} {
		if got := allowed("a", topic); len(got) != want {
			t.Errorf("%q: %v, want %d formats", topic, got, want)
		}
	}
}

// docs/devices.md names every topic with what it takes.
func TestDevicesDocument(t *testing.T) {
	doc := string(must[[]byte](t)(os.ReadFile("../../docs/devices.md")))
	for _, name := range []string{"ecg", "image", "document"} {
		if row := fmt.Sprintf("\n| clinic/NAME/%s | %s |\n", name, strings.Join(takes(name), ", ")); !strings.Contains(doc, row) {
			t.Errorf("the document lacks %q", row)
		}
	}
}

// The broker's own log lines carry no packets.
func TestDiscreetLog(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(discreet{slog.NewTextHandler(&b, nil)}).With("client", "secret")
	log.Error("publish packet error", "error", errors.New("why"), "packet", "secret")
	log.Info("secret")
	if s := b.String(); strings.Contains(s, "secret") || !strings.Contains(s, "err=why") {
		t.Error(s)
	}
}
