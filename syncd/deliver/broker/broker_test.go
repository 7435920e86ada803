package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/progress"
	"clinicgate/syncd/format"
	"clinicgate/syncd/queue"
)

// A cloud is mosquitto as hospitals run it: TLS with client certificates on one
// port, and one without for those inside.
type cloud struct {
	t             *testing.T
	dir           string
	world         *pki.World
	secure, plain string // ports
}

func newCloud(t *testing.T, options ...string) *cloud {
	t.Helper()
	lab.Require(t, lab.Program("mosquitto"), lab.Program("mosquitto_sub"), lab.Program("mosquitto_pub"))
	c := &cloud{t: t, dir: t.TempDir(), secure: freePort(t), plain: freePort(t)}
	var err error
	c.world, err = pki.New(time.Now())
	must(t, err)
	box, err := c.world.Gateway(net.ParseIP("127.0.0.1"))
	must(t, err)
	must(t, box.Write(c.dir, "broker"))
	must(t, os.WriteFile(filepath.Join(c.dir, "ca.pem"), c.world.Devices.PEM(), 0o644))
	acl := "topic readwrite #\nuser gateway-1\ntopic readwrite clinic/gateway-1/#\n"
	must(t, os.WriteFile(filepath.Join(c.dir, "acl"), []byte(acl), 0o644))
	conf := fmt.Sprintf(`user root
per_listener_settings true
listener %s 127.0.0.1
allow_anonymous true
listener %s 127.0.0.1
cafile %[3]s/ca.pem
certfile %[3]s/broker.crt
keyfile %[3]s/broker.key
require_certificate true
use_identity_as_username true
acl_file %[3]s/acl
%s
`, c.plain, c.secure, c.dir, strings.Join(options, "\n"))
	must(t, os.WriteFile(filepath.Join(c.dir, "conf"), []byte(conf), 0o644))
	cmd := exec.Command("mosquitto", "-c", filepath.Join(c.dir, "conf"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("mosquitto:\n%s", &log)
		}
	})
	wait(t, "broker", func() bool { return listens(c.plain) && listens(c.secure) })
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

func listens(port string) bool {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// sender is a gateway with the certificate of that name.
func (c *cloud) sender(name string) *Sender {
	c.t.Helper()
	d, err := c.world.Client("mqtt", name)
	must(c.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(c.world.Devices.Cert)
	return &Sender{
		Addr: "127.0.0.1:" + c.secure, Prefix: "clinic/gateway-1", Site: "T-1",
		TLS: func() (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{d.TLS()}, RootCAs: roots}, nil
		},
		Progress: progress.Open(filepath.Join(c.dir, "progress.json")),
		Key:      func(it queue.Item) string { return it.Key },
	}
}

// A listener is a stock client behind the broker.
type listener struct {
	mu  sync.Mutex
	got []string // "topic sha256 hex-of-payload-digest idempotency-key"
}

// listen subscribes with QoS 2 and a session, and calls back for each message.
func (c *cloud) listen(filter string, then func(topic string, payload []byte, response string)) *listener {
	c.t.Helper()
	cmd := exec.Command("mosquitto_sub", "-V", "mqttv5", "-i", "hospital", "-c", "-x", "3600", "-q", "2", "-h", "127.0.0.1", "-p", c.plain,
		"-t", filter, "-F", "%t\t%x\t%R\t%P")
	out, err := cmd.StdoutPipe()
	must(c.t, err)
	must(c.t, cmd.Start())
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	l := &listener{}
	go func() {
		for in := bufio.NewReader(out); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			part := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			payload, _ := hex.DecodeString(part[1])
			l.mu.Lock()
			l.got = append(l.got, fmt.Sprintf("%s %x %s", part[0], sha256.Sum256(payload), part[3]))
			l.mu.Unlock()
			if then != nil {
				then(part[0], payload, part[2])
			}
		}
	}()
	// It is there when a message of ours comes back.
	wait(c.t, "subscriber", func() bool {
		c.publish(strings.TrimSuffix(filter, "#")+"probe", "x")
		return len(l.all()) > 0
	})
	return l
}

// all is what came, without probes.
func (l *listener) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.got...)
}

// files is what came, without probes.
func (l *listener) files() (got []string) {
	for _, g := range l.all() {
		if !strings.Contains(g, "/probe ") {
			got = append(got, g)
		}
	}
	return got
}

func (c *cloud) publish(topic, message string) {
	c.t.Helper()
	out, err := exec.Command("mosquitto_pub", "-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", c.plain, "-t", topic, "-m", message).CombinedOutput()
	if err != nil {
		c.t.Errorf("mosquitto_pub: %v\n%s", err, out)
	}
}

func item(kind string, size int) (queue.Item, deliver.Body) {
	file := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(file)
	it := queue.Item{Key: fmt.Sprint("k", size), Kind: kind, Size: int64(size), Digest: sha256.Sum256(file), Meta: map[string]string{queue.MetaContentType: "application/octet-stream"}}
	return it, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }
}

func kindOf(err error) deliver.Kind {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return -1
}

func TestArrivesWhole(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	to := c.sender("gateway-1")
	it, body := item(format.SCPECG, 60_000)
	l := c.listen("clinic/gateway-1/#", nil)
	proof, err := to.Send(t.Context(), it, false, body)
	must(t, err)
	wait(t, "file", func() bool { return len(l.files()) > 0 })
	if got := l.files()[0]; !strings.HasPrefix(got, fmt.Sprintf("clinic/gateway-1/ecg %s ", it.Digest)) || !strings.Contains(got, "idempotency-key:k60000") {
		t.Errorf("%s; came %.200s", proof, got)
	}
	long, body := item(format.PDF, 2*Piece+700_000)
	_, err = to.Send(t.Context(), long, false, body)
	must(t, err)
	wait(t, "pieces", func() bool { return len(l.files()) >= 4 })
	for i, got := range l.files()[1:] {
		if want := fmt.Sprintf("clinic/gateway-1/document/chunks/%s/%d/%d ", long.Digest, long.Size, i*Piece); !strings.HasPrefix(got, want) {
			t.Errorf("piece %d: %.200s, want %s", i, got, want)
		}
	}
	// What is over is not sent again, should the queue have missed that.
	_, err = to.Send(t.Context(), long, true, body)
	must(t, err)
	short, body := item(format.AECG, 5000)
	_, err = to.Send(t.Context(), short, false, body)
	must(t, err)
	wait(t, "the last", func() bool { return len(l.files()) >= 5 })
	if got := l.files(); len(got) != 5 || !strings.Contains(got[4], short.Digest.String()) {
		t.Errorf("%d messages, want 5", len(got))
	}
}

// A broker that offers QoS 1 only. It says when nobody is subscribed, and such a
// file is not delivered; a piece that was is not sent again after a cut.
func TestAtLeastOnce(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "max_qos 1", "max_packet_size 300000")
	to := c.sender("gateway-1")
	it, body := item(format.SCPECG, 500_000)
	if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != deliver.Unreachable || !strings.Contains(fmt.Sprint(err), "nobody is subscribed") {
		t.Fatalf("with nobody there: %v", err)
	}
	l := c.listen("clinic/gateway-1/#", nil)
	_, err := to.Send(t.Context(), it, true, body)
	must(t, err)
	wait(t, "pieces", func() bool { return len(l.files()) >= 2 })
	for i, got := range l.files() {
		if want := fmt.Sprintf("/chunks/%s/%d/%d ", it.Digest, it.Size, i<<18); !strings.Contains(got, want) {
			t.Errorf("piece %d: %.200s, want %s", i, got, want)
		}
	}
}

// The connection breaks around each packet of the exchange, and this program starts
// anew, or the other box goes on. Each message reaches the subscriber once.
func TestOnceAcrossCuts(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	l := c.listen("clinic/gateway-1/#", nil)
	n := 0
	for _, cut := range []struct {
		name       string
		fromBroker bool
		kind       byte
		other      bool // the other box goes on, which has no marks
		times      int  // that the message comes
	}{
		{"PUBLISH", false, 3, false, 1},
		{"PUBREC", true, 5, false, 1},
		{"PUBREL", false, 6, false, 1},
		{"PUBCOMP", true, 7, false, 1},
		{"PUBLISH, takeover", false, 3, true, 1},
		{"PUBREC, takeover", true, 5, true, 1},
		{"PUBREL, takeover", false, 6, true, 1},
		{"PUBCOMP, takeover", true, 7, true, 2}, // the broker has forgotten the id: receivers tell by the key
	} {
		n++
		it, body := item(format.SCPECG, 40_000+n)
		to := c.sender("gateway-1")
		to.Addr = c.breaking(cut.fromBroker, cut.kind)
		if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != deliver.Unreachable {
			t.Fatalf("%s: %v", cut.name, err)
		}
		next := c.sender("gateway-1")
		if cut.other {
			next.Progress = progress.Open(filepath.Join(t.TempDir(), "progress.json"))
		}
		_, err := next.Send(t.Context(), it, true, body)
		must(t, err)
		end, body := item(format.SCPECG, 50_000+n)
		_, err = next.Send(t.Context(), end, false, body) // behind what might come
		must(t, err)
		wait(t, "the end", func() bool { return strings.Contains(strings.Join(l.files(), "\n"), end.Digest.String()+" ") })
		if got := strings.Count(strings.Join(l.files(), "\n"), "ecg "+it.Digest.String()+" "); got != cut.times {
			t.Errorf("%s: came %d times, want %d", cut.name, got, cut.times)
		}
	}
}

// breaking is a way to the broker that breaks before it passes on a packet of this
// kind; it returns its address.
func (c *cloud) breaking(fromBroker bool, kind byte) string {
	c.t.Helper()
	box, err := c.world.Gateway(net.ParseIP("127.0.0.1"))
	must(c.t, err)
	in, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{box.TLS()}})
	must(c.t, err)
	c.t.Cleanup(func() { in.Close() })
	go func() {
		near, err := in.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", "127.0.0.1:"+c.plain)
		if err != nil {
			return
		}
		defer far.Close()
		pass := func(to, from net.Conn, last byte) error {
			for r := bufio.NewReader(from); ; {
				first, err := r.ReadByte()
				if err != nil {
					return err
				}
				packet := []byte{first}
				n := 0
				for shift := 0; ; shift += 7 {
					b, err := r.ReadByte()
					if err != nil {
						return err
					}
					packet = append(packet, b)
					if n |= int(b&127) << shift; b < 128 {
						break
					}
				}
				body := make([]byte, n)
				if _, err := io.ReadFull(r, body); err != nil || first>>4 == last {
					return errors.New("cut")
				}
				if _, err := to.Write(append(packet, body...)); err != nil {
					return err
				}
			}
		}
		up, down := kind, byte(0)
		if fromBroker {
			up, down = 0, kind
		}
		done := make(chan error, 2)
		go func() { done <- pass(far, near, up) }()
		go func() { done <- pass(near, far, down) }()
		<-done
	}()
	return in.Addr().String()
}

// The receiver's answer is awaited. One that comes while nobody waits is kept by
// the broker, and then nothing is sent again.
func TestReceiverAnswers(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var mu sync.Mutex
	silent, asked := true, ""
	l := c.listen("clinic/gateway-1/ecg/#", func(topic string, payload []byte, response string) {
		if response == "" {
			return // a probe
		}
		mu.Lock()
		asked = response
		quiet := silent
		mu.Unlock()
		if !quiet {
			c.publish(response, fmt.Sprintf("%x", sha256.Sum256(payload)))
		}
	})
	to := c.sender("gateway-1")
	to.Receiver = true
	it, body := item(format.SCPECG, 30_000)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		wait(t, "message", func() bool { return len(l.files()) > 0 })
		cancel()
	}()
	_, err := to.Send(ctx, it, false, body)
	if kind := kindOf(err); kind != deliver.Pending && kind != deliver.Unreachable {
		t.Fatalf("without an answer: %v", err)
	}
	mu.Lock()
	where := asked
	silent = false
	mu.Unlock()
	c.publish(where, strings.Repeat("0", 64)) // an answer to something else
	c.publish(where, it.Digest.String())
	to = c.sender("gateway-1")
	to.Receiver = true
	proof, err := to.Send(t.Context(), it, true, body)
	if err != nil || !strings.Contains(proof, "receiver") || len(l.files()) != 1 {
		t.Errorf("%q, %v, %d messages", proof, err, len(l.files()))
	}
	other, body := item(format.SCPECG, 31_000)
	_, err = to.Send(t.Context(), other, false, body)
	if err != nil || len(l.files()) != 2 {
		t.Errorf("%v, %d messages", err, len(l.files()))
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	it, body := item(format.SCPECG, 1000)
	stranger, err := pki.New(time.Now())
	must(t, err)
	d, err := stranger.Client("mqtt", "gateway-1")
	must(t, err)
	for name, mend := range map[string]func(*Sender){
		"another clinic's topic": func(s *Sender) { s.Prefix = "clinic/gateway-2" },
		"a stranger's certificate": func(s *Sender) {
			conf, _ := s.TLS()
			s.TLS = func() (*tls.Config, error) {
				return &tls.Config{Certificates: []tls.Certificate{d.TLS()}, RootCAs: conf.RootCAs}, nil
			}
		},
		"a broker we don't trust": func(s *Sender) { s.TLS = func() (*tls.Config, error) { return &tls.Config{}, nil } },
		"no certificate of ours":  func(s *Sender) { s.TLS = func() (*tls.Config, error) { return nil, os.ErrNotExist } },
	} {
		to := c.sender("gateway-1")
		mend(to)
		_, err := to.Send(t.Context(), it, false, body)
		lost := strings.Contains(name, "stranger") && kindOf(err) == deliver.Unreachable // its alert, in a reset
		if kindOf(err) != deliver.Refusing && !lost {
			t.Errorf("%s: %v", name, err)
		}
	}
	to := c.sender("gateway-1")
	to.Addr = "127.0.0.1:" + freePort(t)
	if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != deliver.Unreachable {
		t.Errorf("nobody there: %v", err)
	}
	it.Kind = format.FHIR
	if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != deliver.Refused {
		t.Errorf("no topic for it: %v", err)
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	waveform := map[string]string{queue.MetaClassUID: "1.2.840.10008.5.1.4.1.1.9.1.1"}
	for _, c := range []struct {
		it   queue.Item
		want string
	}{
		{queue.Item{Kind: format.SCPECG}, "p/ecg"}, {queue.Item{Kind: format.AECG}, "p/ecg"}, {queue.Item{Kind: format.PDF}, "p/document"},
		{queue.Item{Kind: format.DICOM}, "p/image"}, {queue.Item{Kind: format.DICOM, Meta: waveform}, "p/ecg"}, {queue.Item{Kind: "hl7v2"}, ""},
	} {
		if got := topic("p", c.it); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.it.Kind, c.it.Meta, got, c.want)
		}
	}
	s := &Sender{Site: "T-1", Key: func(it queue.Item) string { return it.Key }}
	a, b := s.session(queue.Item{Key: "a"}), s.session(queue.Item{Key: "b"})
	if len(a) != 23 || a == b || a != s.session(queue.Item{Key: "a"}) || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Errorf("sessions %q and %q", a, b)
	}
}

// Whatever a broker sends, it is a packet or an error, and takes no more memory
// than a packet may.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x20\x03\x00\x00\x00"))
	f.Add([]byte("\x20\x02\x00\x01"))
	f.Add([]byte("\x20\x09\x01\x00\x06\x24\x01\x27\x00\x10\x00"))
	f.Add([]byte("\x50\x02\x00\x01\x50\x03\x00\x01\x97\x70\x02\x00\x01"))
	f.Add([]byte("\x32\x0b\x00\x03a/b\x00\x01\x00abc"))
	f.Add([]byte("\x90\x04\xff\xff\x00\x01\xe0\x02\x8d\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for in := bufio.NewReader(bytes.NewReader(b)); ; {
			pk, err := read(in)
			if err != nil {
				return
			}
			if len(pk.Payload) > maxPacket {
				t.Errorf("payload of %d bytes", len(pk.Payload))
			}
		}
	})
}
