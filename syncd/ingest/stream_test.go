package ingest

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"clinicgate/syncd/format"
)

// zeros is n bytes that nobody has to hold.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStream(t *testing.T) {
	from := Source{Origin: "holter-1", Via: "tus"}
	for _, file := range []string{ecgFile, "../format/testdata/ecgtoolkit_example.scp"} {
		d, q, _ := door()
		body := read(t, file)
		for range 2 {
			if _, err := d.Stream(t.Context(), from, iotest.OneByteReader(bytes.NewReader(body))); err != nil {
				t.Fatal(err)
			}
		}
		if items := q.Items(); len(items) != 1 || !bytes.Equal(items[0].Body, body) {
			t.Errorf("%s: %d items", file, len(items))
		}
	}
}

func TestStreamRefused(t *testing.T) {
	d, q, _ := door()
	from := Source{Origin: "holter-1", Via: "tus"}
	_, err := d.Stream(t.Context(), from, zeros(wholeLimit+1))
	refusal(t, err, Unsupported)
	_, err = d.Stream(t.Context(), from, zeros(100))
	refusal(t, err, Malformed)
	_, err = d.Stream(t.Context(), from, iotest.TimeoutReader(iotest.OneByteReader(zeros(200))))
	refusal(t, err, Failed)
	from.Takes = []string{format.PDF}
	_, err = d.Stream(t.Context(), from, bytes.NewReader(read(t, ecgFile)))
	refusal(t, err, Unsupported)
	why := &Refusal{Mismatch, "another digest", nil}
	body := []byte("whatever")
	if _, err := d.HoldStream(t.Context(), from, [32]byte{}, 8, bytes.NewReader(body), why); err != nil {
		t.Fatal(err)
	}
	if items := q.Items(); len(items) != 1 || items[0].Held != "another digest" {
		t.Errorf("items: %+v", items)
	}
}
