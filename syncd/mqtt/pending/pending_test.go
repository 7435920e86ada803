package pending

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/syncd/vault"
)

// A box is a store that can be stopped at any moment and opened again: all it has
// is on disk when a call returns.
type box struct {
	t      *testing.T
	dir    string
	domain *vault.Domain
	*Store
}

func newBox(t *testing.T) *box {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: t.TempDir(), domain: v.Domain("devices")}
	b.again(0)
	return b
}

func (b *box) again(wantLost int) {
	b.t.Helper()
	s, lost, err := Open(b.dir, b.domain)
	if err != nil || lost != wantLost {
		b.t.Fatalf("open: lost %d, %v", lost, err)
	}
	b.Store = s
}

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func (b *box) session(device, client string, keep time.Duration, clean bool) *Session {
	b.t.Helper()
	v, err := b.Session(device, client, keep, clean, now)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestKnownUntilDropped(t *testing.T) {
	b := newBox(t)
	v := b.session("ecg-1", "cart", time.Hour, false)
	b.must(v.Keep(7, Mark{1}, now))
	b.must(v.Keep(8, Mark{2}, now))
	b.again(0)
	v = b.session("ecg-1", "cart", time.Hour, false)
	if !v.Known(7, Mark{1}) || !v.Known(8, Mark{2}) || v.Len() != 2 {
		t.Fatalf("after a stop: %d ids", v.Len())
	}
	if v.Known(7, Mark{9}) {
		t.Error("another message under the same id is known")
	}
	if b.session("ecg-1", "other", time.Hour, false).Len() != 0 || b.session("ecg-2", "cart", time.Hour, false).Len() != 0 {
		t.Error("another session has the ids")
	}
	had, err := v.Drop(7, now)
	b.must(err)
	b.again(0)
	v = b.session("ecg-1", "cart", time.Hour, false)
	if !had || v.Known(7, Mark{1}) || !v.Known(8, Mark{2}) {
		t.Error("a drop was forgotten")
	}
	if had, err := v.Drop(7, now); had || err != nil {
		t.Errorf("a second drop: %v %v", had, err)
	}
	_, err = v.Drop(8, now)
	b.must(err)
	if files, _ := os.ReadDir(b.dir); len(files) != 0 {
		t.Errorf("%d files for nothing", len(files))
	}
}

func TestEndOfSessions(t *testing.T) {
	for name, end := range map[string]func(*box) *Session{
		"clean":       func(b *box) *Session { return b.session("d", "c", time.Hour, true) },
		"no interval": func(b *box) *Session { return b.session("d", "c", 0, false) },
		"expired": func(b *box) *Session {
			v, err := b.Session("d", "c", time.Hour, false, now.Add(time.Hour))
			b.must(err)
			return v
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.must(b.session("d", "c", time.Hour, false).Keep(1, Mark{}, now))
			if end(b).Len() != 0 {
				t.Error("ids of a session that ended")
			}
			b.again(0)
			if b.session("d", "c", time.Hour, false).Len() != 0 {
				t.Error("they came back")
			}
		})
	}
	b := newBox(t)
	v := b.session("d", "c", 0, true)
	b.must(v.Keep(1, Mark{}, now))
	if files, _ := os.ReadDir(b.dir); !v.Known(1, Mark{}) || len(files) != 0 {
		t.Errorf("a session that ends with its connection: %d files", len(files))
	}
	if had, err := v.Drop(1, now); !had || err != nil || v.Len() != 0 {
		t.Errorf("drop: %v %v", had, err)
	}
}

func TestBounds(t *testing.T) {
	b := newBox(t)
	for i := range maxSessions + 2 {
		v := b.session("d", fmt.Sprint(i), time.Hour, false)
		b.must(v.Keep(1, Mark{}, now.Add(time.Duration(i)*time.Second)))
	}
	for i := range maxSessions + 2 {
		if got, want := b.session("d", fmt.Sprint(i), time.Hour, false).Len(), min(1, max(0, i-1)); got != want {
			t.Errorf("session %d: %d ids, want %d", i, got, want)
		}
	}
	v := b.session("e", "c", time.Hour, false)
	for id := range uint16(3) {
		if !v.Room(id, 3) {
			t.Errorf("no room for id %d of 3", id)
		}
		b.must(v.Keep(id, Mark{}, now))
	}
	if v.Room(3, 3) || !v.Room(2, 3) {
		t.Error("the bound on ids does not hold")
	}
}

// Files that can't be read are forgotten, not stumbled over; a write that was cut
// short changes nothing.
func TestDamage(t *testing.T) {
	b := newBox(t)
	b.must(b.session("a", "c", time.Hour, false).Keep(1, Mark{}, now))
	b.must(b.session("b", "c", time.Hour, false).Keep(1, Mark{}, now))
	b.must(os.WriteFile(filepath.Join(b.dir, "."+b.file("a")+".tmp"), []byte("half"), 0o600))
	sealed, err := os.ReadFile(filepath.Join(b.dir, b.file("a")))
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.dir, b.file("b")), sealed, 0o600)) // a's under b's name
	b.again(1)
	if b.session("a", "c", time.Hour, false).Len() != 1 || b.session("b", "c", time.Hour, false).Len() != 0 {
		t.Error("damage to one device's file is not its alone")
	}
	b.again(0)
	b.must(os.RemoveAll(b.dir))
	if b.session("a", "c", time.Hour, false).Keep(2, Mark{}, now) == nil {
		t.Error("kept without a disk")
	}
	if b.session("a", "c", time.Hour, false).Known(2, Mark{}) {
		t.Error("what could not be written is known")
	}
}
