package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var key = bytes.Repeat([]byte{9}, KeySize)

func open(t testing.TB, path string) *Spool {
	t.Helper()
	s, err := Open(path, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func event(i int) json.RawMessage { return fmt.Appendf(nil, `{"event":%d}`, i) }

func put(t testing.TB, s *Spool, r Record) {
	t.Helper()
	if _, err := s.Append(r); err != nil {
		t.Fatal(err)
	}
}

// told is what a spool offers, and whose sessions it knows to be open.
func told(s *Spool) string {
	var parts []string
	for _, r := range s.Waiting(0, 1000) {
		parts = append(parts, fmt.Sprintf("%d:%s", r.N, r.Event))
	}
	for _, r := range s.Unfinished() {
		parts = append(parts, r.Begins+string(r.Note))
	}
	return strings.Join(parts, " ")
}

// day fills a spool: a session that ended, one that did not, and a refusal.
func day(t testing.TB, s *Spool) {
	put(t, s, Record{Event: event(1), Begins: "s1", Note: json.RawMessage(`"ruiz"`)})
	put(t, s, Record{Event: event(2), Begins: "s2", Note: json.RawMessage(`"soto"`)})
	put(t, s, Record{Event: event(3), Ends: "s1"})
	put(t, s, Record{Event: event(4)})
}

func TestKeptUntilTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	s := open(t, path)
	day(t, s)
	want := `1:{"event":1} 2:{"event":2} 3:{"event":3} 4:{"event":4} s2"soto"`
	if got := told(s); got != want {
		t.Fatalf("got %s", got)
	}
	again := open(t, path)
	if got := told(again); got != want || again.Epoch() != s.Epoch() {
		t.Fatalf("after a stop: %s", got)
	}
	if err := again.Ack(3); err != nil {
		t.Fatal(err)
	}
	if got := told(again); got != `4:{"event":4} s2"soto"` {
		t.Fatalf("after it was taken: %s", got)
	}
	if n := again.Waiting(4, 10); len(n) != 0 {
		t.Fatalf("behind the last: %v", n)
	}
	put(t, again, Record{Event: event(5), Ends: "s2"})
	// The acknowledgement was not durable: they are offered once more.
	if got := told(open(t, path)); got != `1:{"event":1} 2:{"event":2} 3:{"event":3} 4:{"event":4} 5:{"event":5}` {
		t.Fatalf("after another stop: %s", got)
	}
}

// A long acknowledged past leaves the file; who is logged in does not.
func TestRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	s := open(t, path)
	put(t, s, Record{Event: event(1), Begins: "s1", Note: json.RawMessage(`"ruiz"`)})
	big := json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)
	for range 200 {
		put(t, s, Record{Event: big})
	}
	if err := s.Ack(200); err != nil {
		t.Fatal(err)
	}
	if _, size := s.Status(); size > 4000 {
		t.Errorf("the file has %d bytes, with one record of 1000", size)
	}
	put(t, s, Record{Event: event(2)})
	want := fmt.Sprintf(`201:%s 202:{"event":2} s1"ruiz"`, big)
	if got := told(s); got != want {
		t.Errorf("got %s", got)
	}
	if got := told(open(t, path)); got != want {
		t.Errorf("after a stop: %s", got)
	}
}

// Cut at every byte, as a power cut may leave it: what was there before is whole.
func TestCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit")
	s := open(t, path)
	var ends []int64
	_, start := s.Status()
	for i := range 3 {
		put(t, s, Record{Event: event(i)})
		_, size := s.Status()
		ends = append(ends, size)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := start; cut <= int64(len(data)); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, 100)} { // nothing behind, or zeros of a file made longer
			if err := os.WriteFile(path, append(slices.Clone(data[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			got := open(t, path)
			want := 0
			for _, end := range ends {
				if cut >= end {
					want++
				}
			}
			if n, _ := got.Status(); n != want {
				t.Fatalf("cut at %d of %v, %d zeros behind: %d records, want %d", cut, ends, len(tail), n, want)
			}
			put(t, got, Record{Event: event(9)})
			if n, _ := open(t, path).Status(); n != want+1 {
				t.Fatalf("cut at %d: what was appended then is lost", cut)
			}
		}
	}
}

// Whatever is changed, left out or put elsewhere is noticed and kept aside.
func TestAttackAlteredTrail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit")
	s := open(t, path)
	_, start := s.Status()
	day(t, s)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, end := s.Status()
	first := s.kept[0].end
	for name, bad := range map[string][]byte{
		"a bit":         flip(data, int(start)+20),
		"one left out":  slices.Concat(data[:start], data[first:]),
		"one twice":     slices.Concat(data[:first], data[start:]),
		"another epoch": flip(data, 10),
		"no header":     data[3:],
		"empty":         {},
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Open(path, key)
		if !errors.Is(err, ErrDamaged) || got == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n, _ := got.Status(); n != 0 || got.Epoch() == s.Epoch() {
			t.Errorf("%s: goes on with %d records in the same epoch", name, n)
		}
		put(t, got, Record{Event: event(1)})
		got.Close()
		if aside, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(aside, bad) {
			t.Errorf("%s: not kept aside: %v", name, err)
		}
	}
	if bytes.Contains(data[:end], []byte("event")) {
		t.Error("events can be read in the file")
	}
	if _, err := Open(path, key[:5]); err == nil {
		t.Error("a short key was taken")
	}
}

func flip(data []byte, at int) []byte {
	bad := slices.Clone(data)
	bad[at] ^= 1
	return bad
}

// A full spool takes no logins, and still takes that sessions end.
func TestFull(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "audit"))
	put(t, s, Record{Event: event(1), Begins: "s1"})
	s.size = MaxSize - reserve
	if _, err := s.Append(Record{Event: event(2), Begins: "s2"}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if _, err := s.Append(Record{Event: event(3), Ends: "s1"}); err != nil {
		t.Fatal(err)
	}
}

// After a failed write nothing is believed of the file: it is written anew.
func TestFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	s := open(t, path)
	put(t, s, Record{Event: event(1)})
	s.file.Close()
	if _, err := s.Append(Record{Event: event(2)}); err == nil {
		t.Fatal("written to a closed file")
	}
	put(t, s, Record{Event: event(3)})
	if got := told(open(t, path)); got != `1:{"event":1} 2:{"event":3}` {
		t.Fatalf("got %s", got)
	}
}

// A frame of the same epoch and number that was sealed on another day (the file was
// put back from a copy in between) does not fit between its neighbours.
func TestAttackSplicedTrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	s := open(t, path)
	_, start := s.Status()
	put(t, s, Record{Event: event(1)})
	_, first := s.Status()
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Record{Event: event(2)})
	_, second := s.Status()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	for n := 12; n < 15; n++ {
		put(t, s, Record{Event: event(n)})
	}
	s.Close()
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := first + 4 + int64(binary.BigEndian.Uint32(after[first:]))
	spliced := slices.Concat(after[:first], before[first:second], after[next:])
	if start >= first || second-first < 20 {
		t.Fatalf("frames at %d, %d, %d", start, first, second)
	}
	if err := os.WriteFile(path, spliced, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, key); !errors.Is(err, ErrDamaged) {
		t.Errorf("a frame of another day was taken: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "audit")
	s := open(f, path)
	day(f, s)
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "audit")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, key)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		put(t, s, Record{Event: event(1)})
		s.Close()
	})
}
