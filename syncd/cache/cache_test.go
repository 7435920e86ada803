package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/vault"
)

// A box is a cache that can be stopped in every way.
type box struct {
	t      testing.TB
	dir    string
	domain *vault.Domain
	size   int64
	*Cache
}

func newBox(t testing.TB, size int64) *box {
	t.Helper()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: filepath.Join(memoryDir(t), "cache"), domain: v.Domain("ehr-cache"), size: size}
	b.open()
	return b
}

// memoryDir is a folder where fsync costs nothing: a kill, unlike a power cut,
// leaves what was written, synced or not. Power cuts are syncd/segment's tests.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "clinicgate-cache-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *box) options() Options {
	return Options{Dir: b.dir, Bytes: b.size, SegmentSize: b.size / 16, Domain: b.domain, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (b *box) open() {
	c, err := Open(b.options())
	if err != nil {
		b.t.Fatalf("open: %v", err)
	}
	b.Cache = c
}

func (b *box) close() {
	if err := b.Close(); err != nil {
		b.t.Fatalf("close: %v", err)
	}
}

// kill leaves what a killed process leaves: the files as they are this moment.
func (b *box) kill() {
	b.t.Helper()
	old := b.dir
	b.dir = filepath.Join(filepath.Dir(old), fmt.Sprintf("after-%d", rand.Int64()))
	b.copyTo(old)
	b.close() // the old one is only cleaned up
	if err := os.RemoveAll(old); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

// copyTo copies the files of a running cache into b.dir. A spare segment that is
// renamed meanwhile is missed: a kill can come before it is made, too.
func (b *box) copyTo(from string) {
	b.t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		to := filepath.Join(b.dir, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) want(key, body string) {
	b.t.Helper()
	a, ok, err := b.Get(key)
	if err != nil || ok != (body != "") || string(a.Body) != body {
		b.t.Fatalf("%s: got %.40q %v %v, want %.40q", key, a.Body, ok, err, body)
	}
}

func (b *box) put(key, body string) {
	b.t.Helper()
	if err := b.Put(key, answer(body)); err != nil {
		b.t.Fatal(err)
	}
}

func answer(body string) fhir.Answer {
	return fhir.Answer{Body: []byte(body), ETag: `W/"1"`, At: time.Now().UTC(), Policy: fhir.Policy{MaxAge: -1}}
}

func TestKeepsAnswersWhole(t *testing.T) {
	b := newBox(t, 16<<20)
	in := fhir.Answer{
		Body: []byte(`{"value":1.00}`), ETag: `W/"7"`, LastModified: "Sun, 22 Nov 2026 08:00:00 GMT",
		At: time.Date(2026, 11, 22, 8, 0, 0, 5e6, time.UTC), Policy: fhir.Policy{MaxAge: 90 * time.Second, Revalidate: true},
	}
	if err := b.Put("Patient/1", in); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, ok, err := b.Get("Patient/1")
		if err != nil || !ok || string(out.Body) != string(in.Body) || out.ETag != in.ETag || out.LastModified != in.LastModified || !out.At.Equal(in.At) || out.Policy != in.Policy {
			t.Fatalf("got %+v %v %v", out, ok, err)
		}
		b.close()
		b.open()
	}
	b.want("Patient/2", "")
	long := strings.Repeat(`{"resourceType":"Observation"}`, 1<<15)
	b.put("Observation?patient=Patient/1", long)
	b.want("Observation?patient=Patient/1", long)
	if n, size := b.Stats(); n != 2 || size > int64(len(long)/5) {
		t.Errorf("%d answers in %d bytes", n, size)
	}
	if err := b.Drop("Patient/1"); err != nil {
		t.Fatal(err)
	}
	b.want("Patient/1", "")
	b.kill()
	b.want("Patient/1", "")
	if n, _ := b.Stats(); n != 1 {
		t.Errorf("%d answers after a drop", n)
	}
	b.close()
}

// Whatever happens to the index, the answers are the log's.
func TestIndexIsDerived(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"gone":      os.Remove,
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"cut":       func(p string) error { return os.Truncate(p, 5000) },
		"torn page": func(p string) error { return scribble(p, 8192, 4096) },
		"torn meta": func(p string) error { return scribble(p, 0, 8192) },
		"not bolt":  func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), 40000), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, 16<<20)
			for i := range 300 {
				b.put(fmt.Sprint("Patient/", i), fmt.Sprint("old ", i))
			}
			b.put("Patient/7", "new 7")
			if err := b.flush(); err != nil {
				t.Fatal(err)
			}
			old := b.dir
			b.dir += "-harmed"
			b.copyTo(old) // not closed: the mark "open" is in it
			b.close()
			if err := harm(filepath.Join(b.dir, "index.db")); err != nil {
				t.Fatal(err)
			}
			b.open()
			b.want("Patient/7", "new 7")
			b.want("Patient/8", "old 8")
			if n, _ := b.Stats(); n != 300 {
				t.Errorf("%d answers, want 300", n)
			}
			b.close()
		})
	}
}

func scribble(path string, off int64, n int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, n), off)
	return err
}

// A killed run leaves an index behind its log, at any distance.
func TestKilledAnywhere(t *testing.T) {
	b := newBox(t, 2<<20)
	for round := range 12 {
		for i := range 20 {
			b.put(fmt.Sprint("Patient/", i), fmt.Sprint(round, " ", i))
			if i == round {
				if err := b.flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.kill()
		for i := range 20 {
			b.want(fmt.Sprint("Patient/", i), fmt.Sprint(round, " ", i))
		}
	}
	b.close()
}

// Against a map: any order of puts, drops, kills, lost and old indexes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBox(t, 2<<20)
		defer func() { b.close() }()
		model := map[string]string{}
		keys := rapid.SampledFrom([]string{"Patient/1", "Patient/2", "Observation?patient=Patient/1"})
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"put":   func(rt *rapid.T) { n++; k := keys.Draw(rt, "key"); model[k] = fmt.Sprint(k, n); b.put(k, model[k]) },
			"drop":  func(rt *rapid.T) { k := keys.Draw(rt, "key"); delete(model, k); _ = b.Drop(k) },
			"flush": func(*rapid.T) { _ = b.flush() },
			"kill":  func(*rapid.T) { b.kill() },
			"close": func(*rapid.T) { b.close(); b.open() },
			"lose index": func(*rapid.T) {
				b.close()
				_ = os.Remove(filepath.Join(b.dir, "index.db"))
				b.open()
			},
			"": func(rt *rapid.T) {
				for _, k := range []string{"Patient/1", "Patient/2", "Observation?patient=Patient/1"} {
					if a, _, err := b.Get(k); err != nil || string(a.Body) != model[k] {
						rt.Fatalf("%s: got %q %v, want %q", k, a.Body, err, model[k])
					}
				}
				if c, _ := b.Stats(); c != len(model) {
					rt.Fatalf("%d answers, want %d", c, len(model))
				}
			},
		})
	})
}

// The newest answers stay within the bound; the oldest make room.
func TestEviction(t *testing.T) {
	b := newBox(t, 8<<20)
	body := func(i int) string {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		s := make([]byte, 30<<10) // too short to be deflated
		for j := range s {
			s[j] = byte(r.Uint32())
		}
		return string(s)
	}
	for i := range 600 {
		b.put(fmt.Sprint("Patient/", i), body(i))
		b.want(fmt.Sprint("Patient/", i), body(i))
	}
	n, size := b.Stats()
	if n < 40 || n > 280 || size > 8<<20 {
		t.Errorf("%d answers in %d bytes", n, size)
	}
	b.want("Patient/0", "")
	b.kill()
	if again, _ := b.Stats(); again != n {
		t.Errorf("%d answers after a kill, want %d", again, n)
	}
	found := 0
	for i := range 600 {
		if _, ok, err := b.Get(fmt.Sprint("Patient/", i)); err != nil {
			t.Fatal(err)
		} else if ok {
			found++
			b.want(fmt.Sprint("Patient/", i), body(i))
		}
	}
	if found != n {
		t.Errorf("found %d, want %d", found, n)
	}
	b.close()
	used := int64(0)
	filepath.Walk(filepath.Join(b.dir, "log"), func(_ string, fi os.FileInfo, _ error) error { used += fi.Size(); return nil })
	if used > 9<<20 {
		t.Errorf("%d bytes on disk, want about 8 MiB", used)
	}
}

// Nothing a reader of the disk could use: no body, no key, no patient.
func TestNothingReadableOnDisk(t *testing.T) {
	b := newBox(t, 16<<20)
	b.put("Patient/romaguera-1", `{"family":"Romaguera"}`)
	b.put("Observation?patient=Patient/romaguera-1", strings.Repeat(`{"family":"Romaguera"}`, 5000))
	b.close()
	err := filepath.Walk(b.dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(bytes.ToLower(data), []byte("romaguera")) {
			t.Errorf("%s shows the patient", filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A disk that changes bytes costs the answer and never gives another.
func TestBitFlips(t *testing.T) {
	b := newBox(t, 4<<20)
	for i := range 50 {
		b.put(fmt.Sprint("Patient/", i), fmt.Sprint("body of ", i))
	}
	b.close()
	segs, err := filepath.Glob(filepath.Join(b.dir, "log", "*.seg"))
	if err != nil || len(segs) == 0 {
		t.Fatal(segs, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		if err := scribble(segs[len(segs)-1], 16<<10+r.Int64N(12000), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(b.dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	b.open()
	lost := 0
	for i := range 50 {
		a, ok, _ := b.Get(fmt.Sprint("Patient/", i))
		if !ok {
			lost++
		} else if string(a.Body) != fmt.Sprint("body of ", i) {
			t.Fatalf("Patient/%d: got %q", i, a.Body)
		}
	}
	t.Logf("%d of 50 answers lost to 40 flips", lost)
	if lost == 0 {
		t.Error("the flips hit nothing")
	}
	b.put("Patient/1", "again")
	b.want("Patient/1", "again")
	b.close()
}

// Another key is another cache: nothing opens, nothing breaks.
func TestAnotherKey(t *testing.T) {
	b := newBox(t, 16<<20)
	b.put("Patient/1", "one")
	b.close()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	b.domain = v.Domain("ehr-cache")
	b.open()
	b.want("Patient/1", "")
	b.put("Patient/1", "two")
	b.want("Patient/1", "two")
	b.close()
}

func TestTouch(t *testing.T) {
	b := newBox(t, 16<<20)
	a := answer("x")
	a.At = time.Now().Add(-90 * time.Minute).UTC()
	if err := b.Put("Patient/1", a); err != nil {
		t.Fatal(err)
	}
	soon, late := a.At.Add(time.Minute), a.At.Add(80*time.Minute)
	if err := b.Touch("Patient/1", a, soon); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := b.Get("Patient/1"); !got.At.Equal(soon) {
		t.Errorf("at %v, want %v", got.At, soon)
	}
	if err := b.Touch("Patient/1", a, late); err != nil { // old enough to be written
		t.Fatal(err)
	}
	b.kill()
	if got, _, _ := b.Get("Patient/1"); !got.At.Equal(late) || string(got.Body) != "x" {
		t.Errorf("after a kill: %v %q, want %v", got.At, got.Body, late)
	}
	b.close()
}

func FuzzUnpack(f *testing.F) {
	for _, body := range []string{"x", strings.Repeat("y", deflateFrom)} {
		text, err := pack("Patient/1", answer(body), []byte("{}"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if a, err := unpack(text); err == nil && len(a.Body) > maxBody {
			t.Fatal("more than there can be")
		}
	})
}
