package partial

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"clinicgate/syncd/vault"
)

// A box can lose power at any moment: Open again is all that it does then.
type box struct {
	t      *testing.T
	dir    string
	domain *vault.Domain
	*Store
}

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func newBox(t *testing.T) *box {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: t.TempDir(), domain: v.Domain("uploads")}
	b.again(0, Limits{})
	return b
}

func (b *box) again(wantLost int, l Limits) {
	b.t.Helper()
	s, lost, err := Open(b.dir, b.domain, l)
	if err != nil || lost != wantLost {
		b.t.Fatalf("open: lost %d, %v", lost, err)
	}
	b.Store = s
}

func (b *box) create(name string, total int) Info {
	b.t.Helper()
	i, err := b.Create("holter-1", name, int64(total), map[string]string{"k": "v"}, now)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

func (b *box) append(id string, at int, data []byte) {
	b.t.Helper()
	if n, err := b.Append("holter-1", id, int64(at), bytes.NewReader(data), now); err != nil || n != int64(at+len(data)) {
		b.t.Fatalf("append at %d: %d, %v", at, n, err)
	}
}

func (b *box) find(id string) Info {
	b.t.Helper()
	i, err := b.Find("holter-1", id)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

func (b *box) whole(id string) []byte {
	b.t.Helper()
	r, err := b.Body("holter-1", id)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestPiecesThroughStops(t *testing.T) {
	b := newBox(t)
	data := noise(3*frameSize + 1000)
	id := b.create("a", len(data)).ID
	at := 0
	for _, n := range []int{10, frameSize, 0, 2*frameSize + 990} {
		b.append(id, at, data[at:at+n])
		at += n
		b.again(0, Limits{})
		if i := b.find(id); i.Offset != int64(at) || i.Total != int64(len(data)) || i.Meta["k"] != "v" || i.Done != nil {
			t.Fatalf("after a stop: %+v, want offset %d", i, at)
		}
	}
	if b.create("a", len(data)).Offset != int64(len(data)) {
		t.Error("the same name is another upload")
	}
	if !bytes.Equal(b.whole(id), data) {
		t.Error("other bytes came back")
	}
	if stored, _ := os.ReadFile(filepath.Join(b.dir, id+".part")); bytes.Contains(stored, data[:8]) || bytes.Contains(stored, []byte("holter")) {
		t.Error("it lies there in the clear")
	}
	if err := b.Finish(id, Outcome{Item: "i"}, now); err != nil {
		t.Fatal(err)
	}
	b.again(0, Limits{})
	if i := b.find(id); i.Done == nil || i.Done.Item != "i" || i.Offset != i.Total {
		t.Errorf("done: %+v", i)
	}
	if _, err := os.Stat(filepath.Join(b.dir, id+".part")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its bytes are still there: %v", err)
	}
	if err := b.Remove("holter-1", id); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(b.dir); len(files) != 0 {
		t.Errorf("%d files left", len(files))
	}
}

// Every length a stop may cut the file to: what is told is a true beginning.
func TestTorn(t *testing.T) {
	b := newBox(t)
	data := noise(300)
	id := b.create("a", len(data)).ID
	b.append(id, 0, data[:100])
	b.append(id, 100, data[100:200])
	file := filepath.Join(b.dir, id+".part")
	full, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(full); cut >= 0; cut-- {
		for _, tail := range [][]byte{nil, make([]byte, len(full)-cut)} { // cut short, or never written
			if err := os.WriteFile(file, append(bytes.Clone(full[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			s, lost, err := Open(b.dir, b.domain, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if lost == 1 {
				continue // torn in its head: begun anew
			}
			i, err := s.Find("holter-1", id)
			if err != nil || i.Offset%100 != 0 {
				t.Fatalf("cut at %d: %+v, %v", cut, i, err)
			}
			if _, err := s.Append("holter-1", id, i.Offset, bytes.NewReader(data[i.Offset:]), now); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			b.Store = s
			if !bytes.Equal(b.whole(id), data) {
				t.Fatalf("cut at %d: other bytes", cut)
			}
		}
		if cut == 20 {
			cut = 1 // the head is sealed as one: all its cuts are alike
		}
	}
}

func TestRefusals(t *testing.T) {
	b := newBox(t)
	id := b.create("a", 100).ID
	b.append(id, 0, make([]byte, 40))
	for name, c := range map[string]struct {
		owner string
		at    int64
		body  io.Reader
		want  error
	}{
		"another's":   {"holter-2", 40, bytes.NewReader(nil), ErrUnknown},
		"behind":      {"holter-1", 39, bytes.NewReader(nil), ErrOffset},
		"ahead":       {"holter-1", 41, bytes.NewReader(nil), ErrOffset},
		"too long":    {"holter-1", 40, bytes.NewReader(make([]byte, 61)), ErrLong},
		"broke off":   {"holter-1", 40, iotest.ErrReader(io.ErrClosedPipe), io.ErrClosedPipe},
		"second body": {"holter-1", 40, bytes.NewReader(nil), nil},
	} {
		if _, err := b.Append(c.owner, id, c.at, c.body, now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if o := b.find(id).Offset; o != 40 {
			t.Fatalf("%s: offset %d", name, o)
		}
	}
	if _, err := b.Body("holter-1", id); !errors.Is(err, ErrOffset) {
		t.Errorf("body of a part: %v", err)
	}
	if _, err := b.Create("holter-1", "a", 99, nil, now); !errors.Is(err, ErrOffset) {
		t.Errorf("another size: %v", err)
	}
	if _, err := b.Create("holter-1", "huge", 1<<50, nil, now); !errors.Is(err, ErrQuota) {
		t.Errorf("huge: %v", err)
	}
	b.again(0, Limits{Uploads: 1})
	if _, err := b.Create("holter-1", "b", 1, nil, now); !errors.Is(err, ErrQuota) {
		t.Errorf("a second one of one: %v", err)
	}
	b.again(0, Limits{KeepFree: 1 << 60})
	if _, err := b.Create("holter-2", "b", 1, nil, now); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if b.Remove("holter-2", id) == nil || b.Remove("holter-1", id) != nil || b.Remove("holter-1", id) == nil {
		t.Error("removal is not the owner's, once")
	}
}

// One piece at a time; what came before a line broke counts.
func TestBusyAndBroken(t *testing.T) {
	b := newBox(t)
	id := b.create("a", 100).ID
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := b.Append("holter-1", id, 0, r, now)
		ended <- err
	}()
	w.Write(make([]byte, 10))
	if _, err := b.Append("holter-1", id, 0, bytes.NewReader(nil), now); !errors.Is(err, ErrBusy) {
		t.Errorf("a second writer: %v", err)
	}
	if err := b.Remove("holter-1", id); !errors.Is(err, ErrBusy) {
		t.Errorf("removal under a writer: %v", err)
	}
	w.CloseWithError(io.ErrClosedPipe)
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) || b.find(id).Offset != 10 {
		t.Errorf("%v, offset %d, want 10", err, b.find(id).Offset)
	}
}

func TestDamageAndExpiry(t *testing.T) {
	b := newBox(t)
	id, other := b.create("a", 100).ID, b.create("b", 100).ID
	sealed, err := os.ReadFile(filepath.Join(b.dir, id+".part"))
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{other + ".part": sealed, "x.y": nil, other + ".done": []byte("?")} {
		if err := os.WriteFile(filepath.Join(b.dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.again(3, Limits{Idle: time.Hour})
	b.find(id)
	if err := b.Expire(time.Now().Add(30 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	b.find(id)
	if err := b.Expire(time.Now().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Find("holter-1", id); !errors.Is(err, ErrUnknown) {
		t.Errorf("expired: %v", err)
	}
}
