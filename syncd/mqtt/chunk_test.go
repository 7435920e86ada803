package mqtt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"clinicgate/syncd/ingest"
)

// chunk publishes a piece of data with QoS 1 under id 9.
func (l *lifetime) chunk(data []byte, from, to int) {
	l.pieceOf(sha256.Sum256(data), len(data), from, data[from:to])
}

func (l *lifetime) pieceOf(digest [32]byte, total, from int, piece []byte) {
	topic := fmt.Sprintf("clinic/ecg-1/ecg/holter/chunks/%x/%d/%d", digest, total, from)
	body := string(binary.BigEndian.AppendUint16(nil, uint16(len(topic)))) + topic + "\x00\x09"
	if l.version == "5" {
		body += "\x00"
	}
	l.send(0x32, body+string(piece))
}

const puback = 0x40

// gone wants the connection closed.
func (l *lifetime) gone() {
	l.t.Helper()
	if kind, body := l.read(); kind != 0 && kind != 0xe0 {
		l.t.Fatalf("got %#x %x, want the end", kind, body)
	}
}

func TestChunksThroughCuts(t *testing.T) {
	ecg := must[[]byte](t)(os.ReadFile(scp))
	third := len(ecg) / 3
	for _, v := range versions {
		for name, cut := range map[string]func(*lifetime){"line": (*lifetime).lineCut, "power": (*lifetime).powerCut} {
			t.Run(v+" "+name, func(t *testing.T) {
				l := newLifetime(t, v)
				l.chunk(ecg, 0, third)
				l.want(puback, 9, 0)
				cut(l) // the ack was lost
				l.chunk(ecg, 0, third)
				l.want(puback, 9, 0)
				l.chunk(ecg, third-5, 2*third) // half of it is there
				l.want(puback, 9, 0)
				cut(l)
				if n := l.queue.Calls(); n != 0 {
					t.Fatalf("the queue was asked %d times for a part", n)
				}
				l.queue.SetFull(true)
				l.chunk(ecg, 2*third, len(ecg))
				l.gone() // whole, but no room in the queue
				l.queue.SetFull(false)
				cut(l)
				l.chunk(ecg, 2*third, len(ecg))
				l.want(puback, 9, 0)
				cut(l) // the last ack was lost
				l.chunk(ecg, 2*third, len(ecg))
				l.want(puback, 9, 0)
				items := l.queue.Items()
				if len(items) != 1 || !bytes.Equal(items[0].Body, ecg) || items[0].Held != "" || items[0].Kind != "scp-ecg" {
					t.Errorf("%d items", len(items))
				}
			})
		}
	}
}

// Chunks that are not what they say: refused where the device understands it, and
// never an item that is sent.
func TestChunksRefused(t *testing.T) {
	ecg := must[[]byte](t)(os.ReadFile(scp))
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			l := newLifetime(t, v)
			wrong := func(reason byte) {
				t.Helper()
				if v == "5" {
					l.want(puback, 9, reason)
					return
				}
				l.gone()
				l.lineCut()
			}
			l.chunk(ecg, 100, 200)
			wrong(0x83) // a gap
			l.pieceOf([32]byte{}, 10, 5, []byte("beyond"))
			wrong(0x90)
			l.pieceOf(sha256.Sum256(ecg), 1<<40, 0, ecg)
			wrong(0x90)
			l.pieceOf([32]byte{1}, len(ecg), 0, ecg)
			if v == "5" {
				l.want(puback, 9, 0x99)
				if n := l.queue.Calls(); n != 0 {
					t.Errorf("the queue was asked %d times", n)
				}
				l.chunk([]byte("not an ECG"), 0, 10)
				l.want(puback, 9, 0x99)
				l.chunk(ecg, 0, len(ecg)) // nothing stands in the way of the right one
				l.want(puback, 9, 0)
				return
			}
			l.want(puback, 9, 0)
			items := l.queue.Items()
			if len(items) != 1 || items[0].Held == "" {
				t.Fatalf("%d items, want one held", len(items))
			}
			l.pieceOf([32]byte{1}, len(ecg), 0, ecg)
			l.want(puback, 9, 0)
			if n := len(l.queue.Items()); n != 1 {
				t.Errorf("%d items, want 1", n)
			}
		})
	}
}

func FuzzParseChunk(f *testing.F) {
	f.Add(strings.Repeat("0", 64), "10", "5", 5)
	f.Add(strings.Repeat("G", 64), "-1", "05", 0)
	f.Add("", "9223372036854775807", "9223372036854775807", 1<<30)
	f.Fuzz(func(t *testing.T, digest, total, offset string, size int) {
		c, err := parseChunk([]string{digest, total, offset}, max(0, size))
		if err == nil && (c.total < 1 || c.offset < 0 || size < 1 || c.offset+int64(size) > c.total || c.total > maxChunked) {
			t.Fatalf("accepted %+v with %d bytes", c, size)
		}
	})
}

func TestChunkLevels(t *testing.T) {
	for topic, file := range map[string]string{
		"clinic/a/ecg/chunks/d/1/0": "clinic/a/ecg", "clinic/a/ecg/bed-3/chunks/d/1/0": "clinic/a/ecg/bed-3",
		"clinic/a/ecg": "", "clinic/a/chunks/d/1/0": "", "clinic/a/ecg/chunks/d/1": "", "clinic/a/ecg/chunks/d/1/0/x": "", "": "",
	} {
		if got, _, ok := chunkLevels(topic); got != file || ok != (file != "") {
			t.Errorf("%q: got %q", topic, got)
		}
	}
}

var _ Door = (*ingest.Door)(nil)
