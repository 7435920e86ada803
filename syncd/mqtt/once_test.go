package mqtt

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/vault"
)

// A lifetime is a gateway that is cut off and comes back with what its disk has.
type lifetime struct {
	t       *testing.T
	version string
	dir     string
	parts   string // folder of chunks
	domain  *vault.Domain
	queue   *memqueue.Queue
	faults  *memqueue.Faults
	*node
	*cart
	present bool // what CONNACK said of the session
}

func newLifetime(t *testing.T, version string) *lifetime {
	l := &lifetime{t: t, version: version, dir: t.TempDir(), parts: t.TempDir(), domain: newDomain(t), queue: &memqueue.Queue{}, faults: &memqueue.Faults{}}
	l.powerCut()
	return l
}

// powerCut ends the server; another one opens what is on disk. The device comes
// back too, with its session kept.
func (l *lifetime) powerCut() {
	l.t.Helper()
	l.node = start(l.t, func(o *Options) {
		o.IDs, o.Door = openIDs(l.t, l.dir, l.domain), ingest.New(l.queue, l.faults)
		o.Parts = openParts(l.t, l.parts, l.domain)
	})
	l.lineCut()
}

// lineCut ends the connection; the device connects again.
func (l *lifetime) lineCut() {
	l.t.Helper()
	if l.cart != nil {
		l.cart.conn.Close()
	}
	connect := "\x00\x04MQTT\x04\x00\x00\x3c\x00\x04cart"
	if l.version == "5" { // session expiry interval 3600 s
		connect = "\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x0e\x10\x00\x04cart"
	}
	var ack []byte
	l.cart, ack = l.connectBy(l.t, "ecg-1", connect)
	l.present = ack[0] == 1
	if l.version == "5" && !strings.Contains(string(ack), "\x11\x00\x00\x0e\x10") {
		l.t.Errorf("CONNACK %x does not grant the session's interval", ack)
	}
}

func (l *lifetime) exactly(dup bool, id uint16, payload string) {
	kind := byte(0x34)
	if dup {
		kind |= 0x08
	}
	body := "\x00\x10clinic/ecg-1/ecg" + string(binary.BigEndian.AppendUint16(nil, id))
	if l.version == "5" {
		body += "\x00"
	}
	l.send(kind, body+payload)
}

// want reads one packet: its kind, id and, on MQTT 5, reason (0 may be left out).
func (l *lifetime) want(kind byte, id uint16, reason byte) {
	l.t.Helper()
	got, body := l.read()
	if got != kind || len(body) < 2 || binary.BigEndian.Uint16(body) != id || l.version == "5" && len(body) > 2 && body[2] != reason ||
		len(body) == 2 && reason != 0 && l.version == "5" {
		l.t.Fatalf("got %#x %x, want %#x for id %d with reason %#x", got, body, kind, id, reason)
	}
}

func (l *lifetime) pubrel(id uint16) {
	l.send(0x62, string(binary.BigEndian.AppendUint16(nil, id)))
}

const (
	pubrec  = 0x50
	pubcomp = 0x70
)

// Cut between each two packets of the exchange, by line and by power: one item,
// and every answer what MQTT wants.
func TestExactlyOnceThroughCuts(t *testing.T) {
	ecg := string(must[[]byte](t)(os.ReadFile(scp)))
	other := string(must[[]byte](t)(os.ReadFile("../format/testdata/healforce_62.scp")))
	for _, v := range versions {
		for name, cut := range map[string]func(*lifetime){"line": (*lifetime).lineCut, "power": (*lifetime).powerCut} {
			t.Run(v+" "+name, func(t *testing.T) {
				l := newLifetime(t, v)
				l.exactly(false, 7, ecg)
				l.want(pubrec, 7, 0)
				calls := l.queue.Calls()
				cut(l) // PUBREC was lost
				if !l.present {
					t.Error("CONNACK: the session is not there any more")
				}
				l.exactly(true, 7, ecg)
				l.want(pubrec, 7, 0)
				if l.queue.Calls() != calls {
					t.Error("a known message went to the queue again")
				}
				cut(l)
				l.pubrel(7)
				l.want(pubcomp, 7, 0)
				cut(l) // PUBCOMP was lost
				l.pubrel(7)
				l.want(pubcomp, 7, 0x92)
				l.exactly(false, 7, other) // the id is free
				l.want(pubrec, 7, 0)
				cut(l)
				// The device forgot all and begins anew with the same ids: nothing it
				// sends now may be taken for what it sent then.
				l.exactly(false, 7, ecg+"x")
				if v == "5" {
					l.want(pubrec, 7, 0x99)
				} else {
					l.want(pubrec, 7, 0) // held for a person
				}
				held := map[string]int{"5": 0, "311": 1}[v]
				if items := l.queue.Items(); len(items) != 2+held {
					t.Errorf("%d items, want %d", len(items), 2+held)
				}
			})
		}
	}
}

// What could not be kept gets no PUBREC, by QoS 2 as by QoS 1.
func TestExactlyOnceFull(t *testing.T) {
	ecg := string(must[[]byte](t)(os.ReadFile(scp)))
	for _, v := range versions {
		l := newLifetime(t, v)
		l.queue.SetFull(true)
		l.exactly(false, 1, ecg)
		if kind, _ := l.read(); kind != 0 && kind != 0xe0 {
			t.Fatalf("%s: got %#x, want the end", v, kind)
		}
		l.queue.SetFull(false)
		// The disk of the ids fails: taken, but not acknowledged either.
		if err := os.RemoveAll(l.dir); err != nil {
			t.Fatal(err)
		}
		l.lineCut()
		l.exactly(true, 1, ecg)
		if kind, _ := l.read(); kind != 0 && kind != 0xe0 {
			t.Fatalf("%s: got %#x, want the end", v, kind)
		}
		if err := os.MkdirAll(l.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l.lineCut()
		l.exactly(true, 1, ecg)
		l.want(pubrec, 1, 0)
		if n := len(l.queue.Items()); n != 1 {
			t.Errorf("%s: %d items, want 1", v, n)
		}
	}
}

// Ids that are never released are bounded.
func TestExactlyOnceBound(t *testing.T) {
	ecg := string(must[[]byte](t)(os.ReadFile(scp)))
	for v, most := range map[string]uint16{"311": maxInFlight311, "5": receiveMaximum} {
		l := newLifetime(t, v)
		for id := uint16(1); id <= most; id++ {
			l.exactly(false, id, ecg)
			l.want(pubrec, id, 0)
		}
		l.exactly(false, most+1, ecg)
		if kind, body := l.read(); kind != 0 && (kind != 0xe0 || body[0] != 0x93) {
			t.Errorf("%s: got %#x %x, want the end", v, kind, body)
		}
	}
}

func TestExactlyOnceByMosquitto(t *testing.T) {
	lab.Require(t, lab.Program("mosquitto_pub"))
	for _, v := range versions {
		for _, more := range [][]string{nil, {"-c"}} {
			n := start(t, nil)
			args := append([]string{"-V", v, "-q", "2", "-t", "clinic/ecg-1/ecg", "-f", scp}, more...)
			for range 2 {
				out, err := n.pub(t, "ecg-1", args...)
				if err != nil || !strings.Contains(out, "received PUBREC") || !strings.Contains(out, "received PUBCOMP") {
					t.Fatalf("%s %v: %v\n%s", v, more, err, out)
				}
			}
			if items := n.queue.Items(); len(items) != 1 {
				t.Errorf("%s: %d items, want 1", v, len(items))
			}
		}
	}
}
