package trail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// fillTrail appends records until the log has so many segments.
func fillTrail(t *testing.T, tr *Trail, segments int) {
	t.Helper()
	for i := 0; len(tr.log.Segments()) < segments; i++ {
		e := entry(i)
		e.What += strings.Repeat("x", 1<<20)
		if err := tr.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

// drain delivers what there is, and returns the numbers.
func drain(t *testing.T, tr *Trail) (numbers []uint64) {
	t.Helper()
	for {
		all, err := tr.Next(2, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			return numbers
		}
		for _, r := range all {
			numbers = append(numbers, r.Number)
		}
		if err := tr.Delivered(all[len(all)-1]); err != nil {
			t.Fatal(err)
		}
	}
}

// Every record is offered once, in order, across restarts; a lost note offers all
// again.
func TestOffered(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "trail"), domain(t)
	tr := open(t, dir, d)
	if tr.Chain() != "" {
		t.Errorf("an empty trail is called %q", tr.Chain())
	}
	for i := range 5 {
		if err := tr.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	chain := tr.Chain()
	all, err := tr.Next(2, 1<<20)
	if err != nil || len(all) != 2 || all[1].Prev != all[0].Hash || all[0].Hash.String()[:chainDigits] != chain {
		t.Fatalf("got %v %v", all, err)
	}
	if few, _ := tr.Next(100, 1); len(few) != 1 {
		t.Errorf("got %d records for one byte, want one", len(few))
	}
	if err := tr.Delivered(all[1]); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	tr = open(t, dir, d)
	if got := fmt.Sprint(drain(t, tr)); got != "[3 4 5]" || tr.Chain() != chain {
		t.Errorf("after a restart: %s of %q", got, tr.Chain())
	}
	if err := tr.Append(entry(6)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(drain(t, tr)); got != "[6]" {
		t.Errorf("then %s", got)
	}
	tr.Close()
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(dir+".delivered", []byte("anything"), 0o600) },
		func() error { return os.Remove(dir + ".delivered") },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		tr = open(t, dir, d)
		if got := fmt.Sprint(drain(t, tr)); got != "[1 2 3 4 5 6]" {
			t.Errorf("without the note: %s", got)
		}
		tr.Close()
	}
}

// An end that was cut off after it was delivered is told, and the chain goes on
// behind what was delivered.
func TestEndCutOff(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "trail"), domain(t)
	tr := open(t, dir, d)
	for i := range 4 {
		if err := tr.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, tr)
	tr.Close()
	var records [][]byte
	log, err := segment.Open(dir, segment.Options{SegmentSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Scan(func(_ segment.Ref, r []byte) error { records = append(records, bytes.Clone(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	log.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if log, err = segment.Open(dir, segment.Options{SegmentSize: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, r := range records[:2] {
		if _, err := log.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	tr, err = Open(dir, d)
	if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "ends with record 2, and 4 was delivered") {
		t.Fatalf("got %v", err)
	}
	if err := tr.Append(entry(9)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(drain(t, tr)); got != "[5]" {
		t.Errorf("it goes on with %s", got)
	}
	tr.Close()
}

// What was delivered is recycled, and only that; the chain holds afterwards, also
// after a stop between mark and segment, and a front that somebody else cut off is
// told.
func TestRecycle(t *testing.T) {
	dir, d := filepath.Join(t.TempDir(), "trail"), domain(t)
	tr := open(t, dir, d)
	if err := tr.Append(Entry{When: time.Unix(1, 0), Epoch: "e1", Number: 7}); err != nil {
		t.Fatal(err)
	}
	chain := tr.Chain()
	fillTrail(t, tr, 4)
	future := time.Now().Add(time.Hour)
	if n, err := tr.Recycle(future, 0); n != 0 || err != nil {
		t.Fatalf("gave up %d segments that nobody has: %v", n, err)
	}
	drain(t, tr)
	if n, err := tr.Recycle(time.Unix(0, 0), 1<<30); n != 0 || err != nil {
		t.Fatalf("gave up %d young segments: %v", n, err)
	}
	// A stop between the mark and the segment: the mark says nothing yet.
	p, ok := tr.oldest(future, 0)
	if !ok {
		t.Fatal("nothing may go")
	}
	if err := tr.Append(Entry{Mark: &Mark{Through: p.last, Hash: p.hash.String(), Chain: chain}}); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	tr = open(t, dir, d)
	if n, err := tr.Recycle(future, 0); n != 3 || err != nil {
		t.Fatalf("gave up %d segments, %v", n, err)
	}
	var first uint64
	var left int
	if err := tr.Walk(func(e Entry) { left++ }); err != nil {
		t.Fatal(err)
	}
	if all, _ := tr.Next(1, 1); len(all) == 1 {
		first = all[0].Number
	}
	tr.Close()
	tr = open(t, dir, d) // an error would be a broken chain
	if tr.Chain() != chain || tr.Last("e1") != 7 || left == 0 {
		t.Errorf("chain %q, want %q; epoch %d, want 7; %d entries", tr.Chain(), chain, tr.Last("e1"), left)
	}
	if all, err := tr.Next(1, 1); err != nil || len(all) != 1 || all[0].Number != first {
		t.Errorf("got %v %v, want record %d", all, err, first)
	}
	fillTrail(t, tr, 3)
	tr.Close()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	tr, err = Open(dir, d)
	if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "begins with record") {
		t.Errorf("a front was cut off: %v", err)
	}
	if tr != nil {
		tr.Close()
	}
}

// Two that began apart have different names, and so has one after a fork.
func TestNames(t *testing.T) {
	names := map[string]bool{}
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		tr := open(t, filepath.Join(t.TempDir(), "trail"), v.Domain("audit"))
		if err := tr.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
		names[tr.Chain()] = true
		all, err := tr.Next(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Fork(all[0]); err != nil {
			t.Fatal(err)
		}
		names[tr.Chain()] = true
		tr.Close()
	}
	if len(names) != 4 || names[""] {
		t.Errorf("names %v", names)
	}
}
