package mqtt

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"
)

// A cart is a device that speaks MQTT 3.1.1 byte by byte, so that a test sees what
// it gets and can send again as §4.4 wants.
type cart struct {
	t    *testing.T
	conn *tls.Conn
	in   *bufio.Reader
}

func (n *node) connect(t *testing.T, device string) *cart {
	t.Helper()
	// CONNECT, session kept, keepalive 60 s, client id "cart"
	c, _ := n.connectBy(t, device, "\x00\x04MQTT\x04\x00\x00\x3c\x00\x04cart")
	return c
}

// connectBy sends a CONNECT and returns CONNACK's body.
func (n *node) connectBy(t *testing.T, device, connect string) (*cart, []byte) {
	t.Helper()
	pair := must[tls.Certificate](t)(tls.LoadX509KeyPair(n.dir+"/"+device+".crt", n.dir+"/"+device+".key"))
	pool := x509.NewCertPool()
	pool.AddCert(n.world.Devices.Cert)
	conn := must[*tls.Conn](t)(tls.Dial("tcp", n.addr, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "localhost"}))
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &cart{t, conn, bufio.NewReader(conn)}
	c.send(0x10, connect)
	kind, body := c.read()
	if kind != 0x20 || body[1] != 0 {
		t.Fatalf("CONNACK %#x %x", kind, body)
	}
	return c, body
}

func (c *cart) send(kind byte, body string) {
	b := binary.AppendUvarint([]byte{kind}, uint64(len(body))) // MQTT's length is a uvarint
	if _, err := c.conn.Write(append(b, body...)); err != nil {
		c.t.Logf("send: %v", err)
	}
}

// read returns the next packet; kind 0 means that the connection was closed.
func (c *cart) read() (kind byte, body []byte) {
	c.t.Helper()
	kind, err := c.in.ReadByte()
	if err != nil {
		return 0, nil
	}
	n := must[uint64](c.t)(binary.ReadUvarint(c.in))
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		c.t.Fatal(err)
	}
	return kind, body
}

func (c *cart) publish(dup bool, id string, payload []byte) {
	kind := byte(0x32) // PUBLISH, QoS 1
	if dup {
		kind |= 0x08
	}
	c.send(kind, "\x00\x10clinic/ecg-1/ecg"+id+string(payload))
}

// A recording that could not be kept is sent again after reconnecting, under the
// same packet id and marked as a duplicate, until it is acknowledged; and what was
// kept but whose ack was lost is the same item when it comes again.
func TestSentAgain(t *testing.T) {
	n := start(t, nil)
	payload := must[[]byte](t)(os.ReadFile(scp))
	n.queue.SetFull(true)
	for i := range 3 {
		c := n.connect(t, "ecg-1")
		c.publish(i > 0, "\x00\x07", payload)
		if kind, body := c.read(); kind != 0 {
			t.Fatalf("try %d: got %#x %x, want the end", i, kind, body)
		}
	}
	n.queue.SetFull(false)
	for range 2 {
		c := n.connect(t, "ecg-1")
		c.publish(true, "\x00\x07", payload)
		if kind, body := c.read(); kind != 0x40 || string(body) != "\x00\x07" {
			t.Fatalf("got %#x %x, want PUBACK 7", kind, body)
		}
		c.conn.Close()
	}
	if items := n.queue.Items(); len(items) != 1 {
		t.Errorf("%d items, want 1", len(items))
	}
}

// Several messages in flight are each acknowledged under their own id, in order.
func TestInFlight(t *testing.T) {
	n := start(t, nil)
	payload := must[[]byte](t)(os.ReadFile(scp))
	c := n.connect(t, "ecg-1")
	for id := byte(1); id <= 40; id++ { // more than the broker's receive maximum of MQTT 5
		c.publish(false, "\x00"+string([]byte{id}), payload)
	}
	for id := byte(1); id <= 40; id++ {
		if kind, body := c.read(); kind != 0x40 || body[1] != id {
			t.Fatalf("got %#x %x, want PUBACK %d", kind, body, id)
		}
	}
}
