package trail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

func domain(t *testing.T) *vault.Domain {
	t.Helper()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	return v.Domain("audit")
}

func open(t *testing.T, dir string, d *vault.Domain) *Trail {
	t.Helper()
	tr, err := Open(dir, d)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func entry(i int) Entry {
	return Entry{When: time.Unix(int64(i), 0).UTC(), Who: "Practitioner/1", Action: "read", What: fmt.Sprint("Patient/", i), Outcome: "fwd"}
}

// all closes the trail and returns what a new run finds.
func all(t *testing.T, dir string, d *vault.Domain) (entries []Entry, err error) {
	t.Helper()
	log, lerr := segment.Open(dir, segment.Options{SegmentSize: 4 << 20})
	if lerr != nil {
		t.Fatal(lerr)
	}
	defer log.Close()
	tr := &Trail{log: log, domain: d}
	err = tr.check(func(_ segment.Ref, r Record) { entries = append(entries, r.Entries...) })
	return entries, err
}

func TestChain(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "audit"), domain(t)
	for run := range 3 {
		tr := open(t, dir, d)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if err := tr.Append(entry(run*50 + i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tr.Append(entry(0)); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
	entries, err := all(t, dir, d)
	if err != nil || len(entries) != 150 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.What] = true
	}
	if len(seen) != 150 {
		t.Errorf("%d different entries", len(seen))
	}
}

// A trail without one of its records, with two exchanged, or with a changed one
// is known as broken, and goes on.
func TestBroken(t *testing.T) {
	d := domain(t)
	whole := filepath.Join(t.TempDir(), "whole")
	tr := open(t, whole, d)
	for i := range 5 {
		if err := tr.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	log, err := segment.Open(whole, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Scan(func(_ segment.Ref, r []byte) error { records = append(records, bytes.Clone(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	log.Close()
	changed := bytes.Clone(records[2])
	changed[len(changed)-1] ^= 1
	renumbered := bytes.Clone(records[3])
	renumbered[7] = 3
	for name, list := range map[string][][]byte{
		"one missing":   {records[0], records[1], records[3], records[4]},
		"first missing": records[1:],
		"exchanged":     {records[0], records[2], records[1], records[3]},
		"twice":         {records[0], records[1], records[1], records[2]},
		"changed":       {records[0], records[1], changed, records[3]},
		"renumbered":    {records[0], records[1], renumbered, records[4]},
		"not a record":  {records[0], []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			log, err := segment.Open(dir, segment.Options{SegmentSize: 4 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if _, err := log.Append(r); err != nil {
					t.Fatal(err)
				}
			}
			log.Close()
			tr, err := Open(dir, d)
			if !errors.Is(err, ErrBroken) || tr == nil {
				t.Fatalf("got %v, want ErrBroken and a trail", err)
			}
			if err := tr.Append(entry(9)); err != nil {
				t.Errorf("it does not go on: %v", err)
			}
			tr.Close()
		})
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "audit"), domain(t)
	tr := open(t, dir, d)
	if err := tr.Append(entry(4711)); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("Practitioner")) || bytes.Contains(data, []byte("4711")) {
			t.Errorf("%s shows who read what", filepath.Base(f))
		}
	}
}

// What was promised before or during Close is there, and nothing else; a second Close
// does not hang.
func TestCloseAmidAppends(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "audit"), domain(t)
	tr := open(t, dir, d)
	var wg sync.WaitGroup
	var kept atomic.Int32
	for i := range 200 {
		wg.Go(func() {
			switch err := tr.Append(entry(i)); {
			case err == nil:
				kept.Add(1)
			case !errors.Is(err, ErrClosed):
				t.Error(err)
			}
		})
		if i == 100 {
			wg.Go(func() {
				if err := tr.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	_ = tr.Close()
	entries, err := all(t, dir, d)
	if err != nil || len(entries) != int(kept.Load()) {
		t.Errorf("%d entries, %d promised, %v", len(entries), kept.Load(), err)
	}
}
