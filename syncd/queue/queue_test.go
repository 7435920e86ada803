package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/syncd/lane"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

func domain(t *testing.T) *vault.Domain {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return v.Domain("uploads")
}

func mustOpen(t *testing.T, dir string, d *vault.Domain, o Options) *Queue {
	t.Helper()
	o.Domain = d
	if o.Segment.SegmentSize == 0 {
		o.Segment.SegmentSize = 4 << 20
	}
	q, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func item(key string) Item {
	return Item{Key: key, Lane: lane.Routine, Kind: "dicom", Origin: "CART", Order: "patient:" + key, Meta: map[string]string{MetaPatientID: "SE-1912"}}
}

func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func mustAccept(t *testing.T, q *Queue, it Item, body []byte) Receipt {
	t.Helper()
	r, err := q.Accept(context.Background(), it, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func body(t *testing.T, q *Queue, id ID) []byte {
	t.Helper()
	r, err := q.Body(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func verify(t *testing.T, q *Queue) Report {
	t.Helper()
	r, err := q.Verify(context.Background())
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("verify: %v, %v", r.Problems, err)
	}
	return r
}

// Small and large bodies, at the borders of a chunk, come back as they were, also
// after a restart; and the same item is the same item.
func TestAcceptKeepsBytes(t *testing.T) {
	dir, d := t.TempDir(), domain(t)
	q := mustOpen(t, dir, d, Options{})
	receipts := map[int]Receipt{}
	sizes := []int{1, 1000, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 3*chunkSize + 17}
	for i, n := range sizes {
		receipts[n] = mustAccept(t, q, item(fmt.Sprint("k", n)), noise(n, byte(i)))
		if want := sha256.Sum256(noise(n, byte(i))); receipts[n].Digest != want || receipts[n].Size != int64(n) {
			t.Fatalf("%d bytes: receipt %+v", n, receipts[n])
		}
	}
	for life := range 2 {
		for i, n := range sizes {
			if got := body(t, q, receipts[n].ID); !bytes.Equal(got, noise(n, byte(i))) {
				t.Fatalf("life %d: %d bytes came back different", life, n)
			}
			if again := mustAccept(t, q, item(fmt.Sprint("k", n)), noise(n, byte(i))); again != receipts[n] {
				t.Fatalf("life %d: repeat gives %+v, want %+v", life, again, receipts[n])
			}
		}
		if r := verify(t, q); r.Items[Waiting] != len(sizes) {
			t.Fatalf("life %d: %+v", life, r)
		}
		q.Close()
		q = mustOpen(t, dir, d, Options{})
	}
}

func TestAcceptRefuses(t *testing.T) {
	q := mustOpen(t, t.TempDir(), domain(t), Options{})
	first := mustAccept(t, q, item("k"), []byte("one"))
	wrong := item("digest")
	wrong.Digest = Digest{1}
	short := item("size")
	short.Size = 10
	big := item("big")
	big.Digest = Digest{1}
	for name, c := range map[string]struct {
		it   Item
		body io.Reader
		want error
	}{
		"no key":         {Item{}, strings.NewReader("x"), ErrInvalid},
		"digest":         {wrong, strings.NewReader("x"), ErrDigest},
		"digest, chunks": {big, bytes.NewReader(noise(2*chunkSize, 1)), ErrDigest},
		"size":           {short, strings.NewReader("x"), ErrDigest},
		"empty":          {item("empty"), strings.NewReader(""), ErrDigest},
		"broken off":     {item("broken"), io.MultiReader(bytes.NewReader(noise(chunkSize+5, 1)), brokenReader{}), errBroken},
	} {
		if r, err := q.Accept(context.Background(), c.it, c.body); !errors.Is(err, c.want) || r != (Receipt{}) {
			t.Errorf("%s: %+v, %v; want %v", name, r, err, c.want)
		}
	}
	_, err := q.Accept(context.Background(), item("k"), strings.NewReader("two"))
	var conflict *Conflict
	if !errors.As(err, &conflict) || conflict.ID != first.ID || conflict.Have != first.Digest {
		t.Fatalf("same key, other body: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := q.Accept(ctx, item("late"), strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
	if r := verify(t, q); r.Items[Waiting] != 1 || len(q.pins) != 1 {
		t.Fatalf("refused items left something: %+v, pins %v", r, q.pins)
	}
}

var errBroken = errors.New("the cart went away")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// The same item ten times at once is one item and ten equal receipts.
func TestAcceptTogether(t *testing.T) {
	q := mustOpen(t, t.TempDir(), domain(t), Options{})
	var wg sync.WaitGroup
	receipts := make([]Receipt, 10)
	for i := range receipts {
		wg.Go(func() {
			var err error
			receipts[i], err = q.Accept(context.Background(), item("same"), bytes.NewReader(noise(chunkSize+9, 3)))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range receipts {
		if r != receipts[0] || r.ID == (ID{}) {
			t.Fatalf("receipts %+v and %+v", r, receipts[0])
		}
	}
	if r := verify(t, q); r.Items[Waiting] != 1 {
		t.Fatalf("%+v", r)
	}
}

// Every state outlives a restart; an attempt that was going on then is known as
// one that may have succeeded.
func TestStatesOutliveRestart(t *testing.T) {
	dir, d := t.TempDir(), domain(t)
	q := mustOpen(t, dir, d, Options{})
	id := map[string]ID{}
	for _, k := range []string{"fresh", "tried", "delivered", "held", "released", "heldatdoor"} {
		it := item(k)
		if k == "heldatdoor" {
			it.Held = "patient unknown"
		}
		id[k] = mustAccept(t, q, it, []byte(k)).ID
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"tried", "delivered"} {
		it, tried, err := q.Begin(id[k], "hospital")
		must(err)
		if tried || it.Key != k || it.Meta[MetaPatientID] != "SE-1912" || it.Digest != sha256.Sum256([]byte(k)) {
			t.Fatalf("begin: %+v, tried %v", it, tried)
		}
	}
	must(q.Done(id["delivered"], "read back"))
	must(q.Hold(id["held"], "refused: 409"))
	must(q.Hold(id["released"], "wait"))
	must(q.Release(id["released"], "someone"))
	for k, err := range map[string]error{
		"done twice": q.Done(id["delivered"], ""), "begin of held": third(q.Begin(id["held"], "x")), "begin twice": third(q.Begin(id["tried"], "x")),
		"hold of delivered": q.Hold(id["delivered"], ""), "release of waiting": q.Release(id["fresh"], "someone"), "again of waiting": q.Again(id["fresh"]),
	} {
		if !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", k, err)
		}
	}
	if err := q.Done(ID{}, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown item: %v", err)
	}
	q.Close()
	q = mustOpen(t, dir, d, Options{})
	got := ""
	for s := Waiting; s <= Held; s++ {
		for _, b := range q.List(s) {
			got += fmt.Sprintf("%v %s %q;", s, b.Where, b.Why)
			if (b.Released == "someone") != (b.ID == id["released"]) {
				t.Errorf("%v %v: released by %q", s, b.ID, b.Released)
			}
		}
	}
	want := `waiting  "";waiting hospital "";waiting  "";delivered hospital "read back";held  "refused: 409";held  "patient unknown";`
	if got != want {
		t.Fatalf("after a restart:\n got %s\nwant %s", got, want)
	}
	for k, want := range map[string]bool{"fresh": false, "tried": true} {
		if _, tried, err := q.Begin(id[k], "hospital"); err != nil || tried != want {
			t.Errorf("%s: tried %v, %v; want %v", k, tried, err, want)
		}
		must(q.Again(id[k]))
	}
	var seen []ID
	q.Watch(func(b Brief) { seen = append(seen, b.ID) })
	late := mustAccept(t, q, item("late"), []byte("late")).ID
	must(q.Release(id["held"], "someone"))
	if want := []ID{id["fresh"], id["tried"], id["released"], late, id["held"]}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Fatalf("watch saw %v, want %v", seen, want)
	}
	lanes := q.Lanes()
	if l := lanes[1]; l.Name != "routine" || l.Waiting != 5 || l.Bytes != 5+5+8+4+4 || l.Delivered != 1 || l.Oldest.IsZero() {
		t.Fatalf("lane %+v", l)
	}
	verify(t, q)
}

func third(_ Item, _ bool, err error) error { return err }

// Room comes free when what was delivered is old enough; held items move out of
// the way and keep state and body; nothing is forgotten that is not delivered.
func TestMaintain(t *testing.T) {
	dir, d := t.TempDir(), domain(t)
	small := Options{Retention: time.Hour, Segment: segment.Options{SegmentSize: 2 << 20}}
	q := mustOpen(t, dir, d, small)
	held := mustAccept(t, q, item("held"), noise(chunkSize+100, 1))
	door := item("door")
	door.Held = "no such patient"
	atDoor := mustAccept(t, q, door, noise(1000, 2))
	if err := q.Hold(held.ID, "other patient"); err != nil {
		t.Fatal(err)
	}
	deliver := func(r Receipt) {
		t.Helper()
		if _, _, err := q.Begin(r.ID, "hospital"); err != nil {
			t.Fatal(err)
		}
		if err := q.Done(r.ID, "yes"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		deliver(mustAccept(t, q, item(fmt.Sprint("d", i)), noise(1<<20, byte(i))))
	}
	waiting := mustAccept(t, q, item("waiting"), noise(1<<20, 77))
	before := len(q.log.Segments())
	if err := q.Maintain(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := len(q.List(Delivered)); n != 12 {
		t.Fatalf("%d delivered items inside their retention, want 12", n)
	}
	if err := q.Maintain(time.Now().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	after := len(q.log.Segments())
	if n := len(q.List(Delivered)); n != 0 || after >= before-5 {
		t.Fatalf("%d delivered items, %d segments of %d", n, after, before)
	}
	again := mustAccept(t, q, item("d3"), noise(1<<20, 3)) // its mark may still be in the log
	for life := range 2 {
		if r := verify(t, q); r.Items[Held] != 2 || r.Items[Waiting] != 2 {
			t.Fatalf("life %d: %+v", life, r)
		}
		if !bytes.Equal(body(t, q, held.ID), noise(chunkSize+100, 1)) || !bytes.Equal(body(t, q, atDoor.ID), noise(1000, 2)) ||
			!bytes.Equal(body(t, q, waiting.ID), noise(1<<20, 77)) || !bytes.Equal(body(t, q, again.ID), noise(1<<20, 3)) {
			t.Fatalf("life %d: a body changed", life)
		}
		if n := q.Lanes()[1].Delivered; n != 12 {
			t.Fatalf("life %d: %d delivered, want 12", life, n)
		}
		if b, _ := q.known(held.ID); b.Why != "other patient" {
			t.Fatalf("life %d: held item %+v", life, b)
		}
		q.Close()
		q = mustOpen(t, dir, d, small)
	}
}

func TestFullDisk(t *testing.T) {
	q := mustOpen(t, t.TempDir(), domain(t), Options{Segment: segment.Options{SegmentSize: 2 << 20, MaxBytes: 8 << 20}})
	var kept []Receipt
	for i := byte(0); ; i++ {
		r, err := q.Accept(context.Background(), item(fmt.Sprint(i)), bytes.NewReader(noise(chunkSize+1, i)))
		if err != nil {
			if !errors.Is(err, ErrFull) || len(kept) < 3 {
				t.Fatalf("after %d items: %v", len(kept), err)
			}
			break
		}
		kept = append(kept, r)
	}
	if _, _, err := q.Begin(kept[0].ID, "hospital"); err != nil {
		t.Fatalf("the mark that frees room: %v", err)
	}
	if err := q.Done(kept[0].ID, "yes"); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, q); r.Items[Waiting] != len(kept)-1 {
		t.Fatalf("%+v", r)
	}
}

// Nothing personal lies on the disk in the clear.
func TestNothingInTheClear(t *testing.T) {
	q := mustOpen(t, t.TempDir(), domain(t), Options{})
	it := item("dicom:1.2.752.999")
	it.Meta[MetaFileName] = "Anna-Andersson.scp"
	r := mustAccept(t, q, it, []byte("ECG of Anna Andersson"))
	if err := q.Hold(r.ID, "Andersson is not the patient"); err != nil {
		t.Fatal(err)
	}
	q.log.Scan(func(_ segment.Ref, b []byte) error {
		for _, s := range []string{"Anna", "Andersson", "1912", "1.2.752", "CART", "dicom"} {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%q lies in the clear", s)
			}
		}
		return nil
	})
}
