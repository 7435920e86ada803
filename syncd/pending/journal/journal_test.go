package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/syncd/disk/crashdisk"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/vault"
)

func domain(t *testing.T) *vault.Domain {
	t.Helper()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	return v.Domain(vault.Edits)
}

func edit(id string, body string) pending.Edit {
	return pending.Edit{
		ID: id, Patient: fhir.Ref{Type: "Patient", ID: "p"}, State: pending.Waiting,
		Changes: []pending.Change{{Ref: fhir.Ref{Type: "Observation", ID: "o"}, New: true, Body: []byte(body)}},
	}
}

// read opens a journal and returns what it had.
func read(t *testing.T, o Options) (*Journal, map[string]pending.Edit, error) {
	t.Helper()
	got := map[string]pending.Edit{}
	j, err := Open(o, func(e pending.Edit) { got[e.ID] = e })
	if j == nil {
		t.Fatal(err)
	}
	return j, got, err
}

func TestNewestCounts(t *testing.T) {
	o := Options{Dir: t.TempDir(), Domain: domain(t)}
	j, got, err := read(t, o)
	if err != nil || len(got) != 0 {
		t.Fatalf("%v %v", got, err)
	}
	a, b := edit("a", `{"v":1.00,"name":"Lopez-in-plain"}`), edit("b", `{}`)
	if err := j.Put(false, a, b); err != nil {
		t.Fatal(err)
	}
	b.State = pending.Done
	if err := j.Put(true, b); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, got, err = read(t, o)
	t.Cleanup(func() { _ = j.Close() })
	if err != nil || len(got) != 2 || got["b"].State != pending.Done || string(got["a"].Changes[0].Body) != `{"v":1.00,"name":"Lopez-in-plain"}` {
		t.Errorf("%v %+v", err, got)
	}
	files, _ := filepath.Glob(filepath.Join(o.Dir, "*.seg"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || bytes.Contains(text, []byte("Lopez")) || bytes.Contains(text, []byte("Observation")) {
			t.Errorf("%s: %v, or in plain", f, err)
		}
	}
	if len(files) == 0 {
		t.Error("no files to look through")
	}
}

// A journal of few segments goes on for ever, as long as what counts fits.
func TestMakesRoom(t *testing.T) {
	o := Options{Domain: domain(t), FS: crashdisk.New(), SegmentSize: 32 << 10, Background: func(f func()) { f() }}
	j, _, _ := read(t, o)
	if err := j.Put(false, edit("stays", `{"v":"`+strings.Repeat("s", 3000)+`"}`)); err != nil {
		t.Fatal(err)
	}
	for n := range 400 {
		id := fmt.Sprint(n)
		if err := j.Put(false, edit(id, `{"v":"`+strings.Repeat("x", 3000)+`"}`)); err != nil {
			t.Fatalf("edit %d: %v", n, err)
		}
		j.Forget(id)
	}
	_ = j.Close()
	j, got, err := read(t, o)
	if err != nil || got["stays"].State != pending.Waiting || len(got["stays"].Changes[0].Body) != 3008 {
		t.Errorf("%v, %d edits", err, len(got))
	}
	// Full of what counts: it says so, and nothing of it is lost.
	full := error(nil)
	kept := 0
	for n := 0; full == nil && n < 400; n++ {
		if full = j.Put(false, edit(fmt.Sprint("k", n), `{"v":"`+strings.Repeat("k", 3000)+`"}`)); full == nil {
			kept++
		}
	}
	if full == nil {
		t.Fatal("a bounded journal took everything")
	}
	if err := j.Put(true, edit("k0", `{}`)); err != nil {
		t.Errorf("no room for what ends an edit: %v", err)
	}
	_ = j.Close()
	_, got, err = read(t, o)
	for n := 1; n < kept; n++ {
		if e, ok := got[fmt.Sprint("k", n)]; err != nil || !ok || len(e.Changes[0].Body) != 3008 {
			t.Fatalf("edit %d of %d is lost: %v", n, kept, err)
		}
	}
}

// What can't be read is said, and costs nothing else.
func TestDamage(t *testing.T) {
	const header = 16 << 10 // of a segment
	d, o := crashdisk.New(), Options{Domain: domain(t), SegmentSize: 64 << 10, Background: func(f func()) { f() }}
	o.FS = d
	j, _, _ := read(t, o)
	for _, id := range []string{"a", "b", "c"} {
		if err := j.Put(false, edit(id, `{}`)); err != nil {
			t.Fatal(err)
		}
	}
	_ = j.Close()
	names, _ := d.List()
	for _, n := range names {
		if strings.HasSuffix(n, ".seg") {
			text := d.Content(n)
			text[header+450] ^= 1 // in the second of them
		}
	}
	_, got, err := read(t, o)
	if !errors.Is(err, ErrDamaged) || len(got) == 3 || len(got) == 0 {
		t.Errorf("%v, %d edits", err, len(got))
	}
	o.Domain = domain(t)
	if _, got, err := read(t, o); !errors.Is(err, ErrDamaged) || len(got) != 0 {
		t.Errorf("by another key: %v, %d edits", err, len(got))
	}
}
