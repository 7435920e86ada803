package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
)

// ways adds a table of the site file, and a destination that is never there.
func (c *clinic) ways(table string) {
	c.t.Helper()
	site := fmt.Sprintf(`%s
%s
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "http://127.0.0.1:9/dicom-web"
accepts = ["dicom"]
[[sync.destination]]
name = "ehr"
kind = "fhir"
url = "http://127.0.0.1:9/fhir"
accepts = ["scp-ecg", "aecg", "pdf", "hl7v2"]
`, readFile(c.t, c.path("site/site.toml")), table)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
}

// device writes a device's key pair and returns it.
func (c *clinic) device(name string) *pki.Device {
	c.t.Helper()
	d, err := c.world.Client("mqtt", name)
	c.must(err)
	c.must(d.Write(c.dir, name))
	return d
}

// waiting counts what waits for delivery.
func (c *clinic) waiting() int {
	n := 0
	for _, l := range c.status().Lanes {
		n += l.Waiting
	}
	return n
}

// A holter is a device that speaks MQTT 3.1.1 byte by byte, with a session kept.
type holter struct {
	c    *clinic
	conn *tls.Conn
	in   *bufio.Reader
}

func (c *clinic) holter(d *pki.Device, port string) *holter {
	c.t.Helper()
	h := &holter{c: c}
	conf := c.client(d.TLS()).Transport.(*http.Transport).TLSClientConfig
	c.wait("broker", func() (ok bool) {
		var err error
		h.conn, err = tls.Dial("tcp", "127.0.0.1:"+port, conf)
		return err == nil
	})
	c.t.Cleanup(func() { h.conn.Close() })
	h.conn.SetDeadline(time.Now().Add(20 * time.Second))
	h.in = bufio.NewReader(h.conn)
	h.send(0x10, "\x00\x04MQTT\x04\x00\x00\x3c\x00\x04cart")
	if kind, body := h.read(); kind != 0x20 || body[1] != 0 {
		c.t.Fatalf("CONNACK %#x %x", kind, body)
	}
	return h
}

func (h *holter) send(kind byte, body string) {
	b := binary.AppendUvarint([]byte{kind}, uint64(len(body)))
	_, err := h.conn.Write(append(b, body...))
	h.c.must(err)
}

func (h *holter) read() (kind byte, body []byte) {
	h.c.t.Helper()
	kind, err := h.in.ReadByte()
	h.c.must(err)
	n, err := binary.ReadUvarint(h.in)
	h.c.must(err)
	body = make([]byte, n)
	_, err = io.ReadFull(h.in, body)
	h.c.must(err)
	return kind, body
}

// expect reads the answer of a kind to packet id 7.
func (h *holter) expect(kind byte) {
	h.c.t.Helper()
	if got, body := h.read(); got != kind || string(body) != "\x00\x07" {
		h.c.t.Fatalf("got %#x %x, want %#x for id 7", got, body, kind)
	}
}

// The box is killed between every two packets of a QoS 2 exchange; then a stock
// client publishes the same with QoS 2. It is one item.
func TestExactlyOnceOutlivesKills(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("mosquitto_pub"))
	c := newClinic(t)
	port := freePort(t)
	c.ways(fmt.Sprintf("[sync.mqtt]\nlisten = \"127.0.0.1:%s\"", port))
	c.keys()
	d := c.device("ecg-1")
	const file = "format/testdata/ecgtoolkit_example.scp"
	ecg := readFile(t, file)
	publish := "\x00\x10clinic/ecg-1/ecg\x00\x07" + ecg

	c.start()
	c.holter(d, port).send(0x34, publish)
	c.wait("word of the item", func() bool { return c.waiting() == 1 })
	c.kill() // PUBREC may be on its way or not
	c.start()
	h := c.holter(d, port)
	h.send(0x3c, publish)
	h.expect(0x50)
	c.kill() // PUBREC is out
	c.start()
	h = c.holter(d, port)
	h.send(0x3c, publish)
	h.expect(0x50)
	h.send(0x62, "\x00\x07")
	h.expect(0x70)
	c.kill() // PUBCOMP is out
	c.start()
	h = c.holter(d, port)
	h.send(0x62, "\x00\x07")
	h.expect(0x70)

	out, err := exec.Command("mosquitto_pub", "-d", "-h", "localhost", "-p", port, "-V", "5", "-q", "2", "-t", "clinic/ecg-1/ecg", "-f", file,
		"--cafile", c.path("site/anchors/devices.pem"), "--cert", c.path("ecg-1.crt"), "--key", c.path("ecg-1.key"), "-i", "stock").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "received PUBCOMP") {
		t.Errorf("mosquitto_pub: %v\n%s", err, out)
	}
	if n := c.waiting(); n != 1 {
		t.Errorf("%d items wait, want 1", n)
	}
	if files, err := os.ReadDir(c.path("state/mqtt")); err != nil || len(files) != 0 {
		t.Errorf("%d files of packet ids, want none: all are released: %v", len(files), err)
	}
}

// A recording in three chunks, the box killed after each.
func TestChunksOutliveKills(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	port := freePort(t)
	c.ways(fmt.Sprintf("[sync.mqtt]\nlisten = \"127.0.0.1:%s\"", port))
	c.keys()
	d := c.device("holter-1")
	ecg := readFile(t, "format/testdata/ecgtoolkit_example.scp")
	third := len(ecg) / 3
	for i := range 4 {
		c.start()
		from, to := min(i, 2)*third, min(i+1, 2)*third // the last one twice: its ack may be lost
		if i >= 2 {
			to = len(ecg)
		}
		topic := fmt.Sprintf("clinic/holter-1/ecg/chunks/%x/%d/%d", sha256.Sum256([]byte(ecg)), len(ecg), from)
		h := c.holter(d, port)
		h.send(0x32, string(binary.BigEndian.AppendUint16(nil, uint16(len(topic))))+topic+"\x00\x07"+ecg[from:to])
		h.expect(0x40)
		c.kill()
	}
	c.start()
	c.wait("one item", func() bool { return c.waiting() == 1 })
}
