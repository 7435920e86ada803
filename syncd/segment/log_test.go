package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"

	"clinicgate/syncd/disk"
	"clinicgate/syncd/disk/crashdisk"
)

func mustOpen(t *testing.T, fs disk.FS) *Log {
	t.Helper()
	l, err := smallLog(fs)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, l *Log, records ...[]byte) (refs []Ref) {
	t.Helper()
	var group []*waiter
	for _, r := range records {
		group = append(group, &waiter{record: r})
	}
	l.commit(group)
	for _, g := range group {
		if g.err != nil {
			t.Fatal(g.err)
		}
		refs = append(refs, g.ref)
	}
	return refs
}

func contents(t *testing.T, l *Log) (all []string, err error) {
	t.Helper()
	err = l.Scan(func(_ Ref, b []byte) error {
		all = append(all, string(b[:min(2, len(b))]))
		return nil
	})
	return all, err
}

func block(name string) []byte { return append([]byte(name), make([]byte, 512-frameHead-len(name))...) }

// A torn record in the middle of the last group hides those behind it, and they
// stay hidden when a new record exactly fills the gap.
func TestTornMiddleDoesNotComeBack(t *testing.T) {
	dsk := crashdisk.New()
	refs := mustAppend(t, mustOpen(t, dsk), block("a1"), block("a2"), block("a3"))
	dsk.Content(liveName(1))[refs[1].off+100] ^= 1
	l := mustOpen(t, dsk.Restart())
	if got, err := contents(t, l); fmt.Sprint(got) != "[a1]" || err != nil {
		t.Fatalf("after the stop: %v, %v; want [a1]", got, err)
	}
	mustAppend(t, l, block("b2"))
	if got, err := contents(t, mustOpen(t, dsk.Restart())); fmt.Sprint(got) != "[a1 b2]" || err != nil {
		t.Fatalf("after the next: %v, %v; want [a1 b2]", got, err)
	}
}

// The process dies between a segment's new name and the folder's sync, the next
// one writes to that segment, and then the power goes.
func TestNameOnlyTheKernelKnew(t *testing.T) {
	dsk := crashdisk.New()
	l := mustOpen(t, dsk)
	dsk.At, dsk.Fault = dsk.Steps()+4, crashdisk.CutBefore // header, sync, rename | sync
	if _, err := l.Append([]byte("lost")); !errors.Is(err, crashdisk.ErrPower) {
		t.Fatalf("append: %v", err)
	}
	dsk = dsk.Restart()
	mustAppend(t, mustOpen(t, dsk), []byte("kept"))
	for seed := range uint64(20) {
		l := mustOpen(t, dsk.Reboot(rand.New(rand.NewPCG(seed, 0))))
		if got, err := contents(t, l); fmt.Sprint(got) != "[ke]" || err != nil {
			t.Fatalf("seed %d: %v, %v; want [ke]", seed, got, err)
		}
	}
}

// Damage to what was durable is told apart from a torn end: it is reported, and
// everything else is still found.
func TestDamageIsReported(t *testing.T) {
	for name, at := range map[string]uint32{"head": 0, "length": 7, "record": frameHead + 5} {
		dsk := crashdisk.New()
		l := mustOpen(t, dsk)
		refs := mustAppend(t, l, block("a1"), block("a2"))
		mustAppend(t, l, block("a3"))
		dsk.Content(liveName(1))[refs[0].off+at] ^= 4
		for life := range 2 {
			l = mustOpen(t, dsk.Restart())
			got, err := contents(t, l)
			if fmt.Sprint(got) != "[a2 a3]" || !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, life %d: %v, %v; want [a2 a3] and damage", name, life, got, err)
			}
			if _, err := l.Read(refs[0]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: read of the damaged record: %v", name, err)
			}
		}
		mustAppend(t, l, block("a4"))
		if got, _ := contents(t, mustOpen(t, dsk.Restart())); fmt.Sprint(got) != "[a2 a3 a4]" {
			t.Errorf("%s: after an append: %v", name, got)
		}
	}
}

func TestHeaderLost(t *testing.T) {
	dsk := crashdisk.New()
	l := mustOpen(t, dsk)
	for i := range 30 {
		mustAppend(t, l, block(fmt.Sprintf("%02d", i)))
	}
	first := dsk.Content(liveName(1))
	first[100] ^= 1 // one copy
	if got, err := contents(t, mustOpen(t, dsk.Restart())); len(got) != 30 || err != nil {
		t.Fatalf("one copy of a header damaged: %d records, %v; want all 30", len(got), err)
	}
	first[headerCopy+100] ^= 1
	l = mustOpen(t, dsk.Restart())
	got, err := contents(t, l)
	if len(got) != 22 || !errors.Is(err, ErrDamaged) {
		t.Fatalf("a header gone: %d records, %v; want the other 22 and damage", len(got), err)
	}
	if s := l.Segments(); s[0].Fault == nil || l.Retire(s[0].Gen) != nil {
		t.Fatalf("the segment without header can't be given up: %+v", s[0])
	}
	if _, err := contents(t, l); err != nil {
		t.Fatal(err)
	}
}

func TestFullDiskAndReserve(t *testing.T) {
	dsk := crashdisk.New()
	dsk.Room = 5 * minSize
	l := mustOpen(t, dsk)
	var n int
	var err error
	for ; err == nil; n++ {
		_, err = l.Append(block("xx"))
	}
	if !errors.Is(err, ErrFull) || n-1 != 4*8 {
		t.Fatalf("%d records, then %v; want 32, a segment left, and ErrFull", n-1, err)
	}
	if names, _ := dsk.List(); len(names) != 5 {
		t.Fatalf("a refused append left %v", names)
	}
	if _, err := l.AppendReserve([]byte("receipt")); err != nil {
		t.Fatalf("the reserve: %v", err)
	}
	if err := l.Retire(1); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		if _, err := l.Append(block("yy")); err != nil {
			t.Fatalf("after room became free: %v", err)
		}
	}
	if got, err := contents(t, mustOpen(t, dsk.Restart())); len(got) != 24+1+7 || err != nil {
		t.Fatalf("%d records, %v; want 32", len(got), err)
	}
}

func TestMaxBytes(t *testing.T) {
	l, err := Open("", Options{SegmentSize: minSize, MaxBytes: 3 * minSize, FS: crashdisk.New(), Background: func(f func()) { f() }})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if _, err := l.Append(block("xx")); err != nil {
			if !errors.Is(err, ErrFull) || n != 2*8 {
				t.Fatalf("%d records, then %v; want 16 and ErrFull", n, err)
			}
			return
		}
	}
}

// A sender who writes what a segment could hold doesn't get it read as records.
func TestForgedFrames(t *testing.T) {
	dsk := crashdisk.New()
	l := mustOpen(t, dsk)
	forged := []byte{}
	guess := header{gen: 1, size: minSize} // all but the salt can be guessed
	for off := int64(headerSize + frameHead); len(forged) < 1000; off = int64(headerSize + frameHead + len(forged)) {
		forged = guess.appendFrame(forged, []byte("forged"), off, headerSize)
	}
	mustAppend(t, l, forged)
	mustAppend(t, l, []byte("next"))
	dsk.Content(liveName(1))[headerSize] ^= 1
	if got, err := contents(t, mustOpen(t, dsk.Restart())); fmt.Sprint(got) != "[ne]" || !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v, %v; want only the record behind the damaged one", got, err)
	}
}

func TestScanAfter(t *testing.T) {
	l := mustOpen(t, crashdisk.New())
	var refs []Ref
	for i := range 30 {
		refs = append(refs, mustAppend(t, l, block(fmt.Sprintf("%02d", i)))...)
	}
	for i, ref := range refs {
		n := i
		err := l.ScanAfter(ref, func(got Ref, b []byte) error {
			n++
			if got != refs[n] || string(b[:2]) != fmt.Sprintf("%02d", n) {
				return fmt.Errorf("got %v, want %v", got, refs[n])
			}
			return nil
		})
		if err != nil || n != 29 {
			t.Fatalf("after record %d: up to %d, %v", i, n, err)
		}
	}
}

func TestRefEncoding(t *testing.T) {
	refs := []Ref{{1, 5, 9}, {1, 6, 2}, {2, 1, 1}, {1 << 40, 0, 0}}
	for i, r := range refs {
		b, _ := r.AppendBinary(nil)
		if back, err := DecodeRef(b); err != nil || back != r || len(b) != RefSize {
			t.Fatalf("%v became %v, %v", r, back, err)
		}
		for j, s := range refs {
			c, _ := s.AppendBinary(nil)
			if bytes.Compare(b, c) != r.Compare(s) || r.Compare(s) != -s.Compare(r) {
				t.Fatalf("%v and %v: encodings and refs differ in order, %d and %d", refs[i], refs[j], bytes.Compare(b, c), r.Compare(s))
			}
		}
	}
	if _, err := DecodeRef(make([]byte, RefSize-1)); err == nil {
		t.Fatal("a short reference was decoded")
	}
}

// The real dsk, with writers, readers and an owner that retires, all at once.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	open := func() *Log {
		l, err := Open(dir, Options{SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	if _, err := Open(dir, Options{SegmentSize: 64 << 10}); err == nil {
		t.Fatal("the same log was opened twice")
	}
	if _, err := l.Append(make([]byte, 64<<10)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a record as large as a segment: %v", err)
	}
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				rec := binary.BigEndian.AppendUint32(nil, uint32(w*each+i))
				rec = append(rec, bytes.Repeat([]byte{byte(w)}, i*20)...)
				ref, err := l.Append(rec)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				if got, err := l.Read(ref); err != nil || !bytes.Equal(got, rec) {
					t.Errorf("read %v: %v", ref, err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	l = open()
	defer l.Close()
	seen := map[uint32]bool{}
	var oldest Ref
	err := l.Scan(func(ref Ref, b []byte) error {
		if oldest.IsZero() {
			oldest = ref
		}
		seen[binary.BigEndian.Uint32(b)] = true
		return nil
	})
	if err != nil || len(seen) != writers*each {
		t.Fatalf("%d records, %v; want %d", len(seen), err, writers*each)
	}
	if err := l.Retire(oldest.Segment()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(oldest); !errors.Is(err, ErrGone) {
		t.Fatalf("read of a retired record: %v", err)
	}
	all := l.Segments()
	if err := l.Retire(all[len(all)-1].Gen); err == nil {
		t.Fatal("the newest segment was retired")
	}
}

// fuzzFile is a segment that is only read.
type fuzzFile struct{ *bytes.Reader }

func (fuzzFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (fuzzFile) Sync() error                        { return errors.ErrUnsupported }
func (fuzzFile) Close() error                       { return nil }
func (f fuzzFile) Size() (int64, error)             { return f.Reader.Size(), nil }

func FuzzFrame(f *testing.F) {
	h := &header{gen: 7, size: minSize, salt: [8]byte{1}}
	f.Add(h.appendFrame(nil, []byte("record"), headerSize, headerSize), uint32(headerSize))
	f.Add(make([]byte, 64), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, off uint32) {
		file := make([]byte, minSize)
		at := headerSize + int64(off)%(minSize-headerSize)
		at -= at % frameAlign
		copy(file[at:], b)
		s := &segment{header: *h, file: fuzzFile{bytes.NewReader(file)}}
		w := &walker{s: s}
		w.walk(headerSize, minSize, func(fr frame, record []byte) error {
			again := h.appendFrame(nil, record, fr.offset, fr.synced)
			if !bytes.Equal(again[:frameHead+fr.length], file[fr.offset:][:frameHead+fr.length]) {
				t.Fatalf("record at %d doesn't write as it reads", fr.offset)
			}
			return nil
		})
	})
}

func FuzzHeader(f *testing.F) {
	f.Add((&header{gen: 3, size: minSize, ends: map[uint64]int64{1: 20000, 2: 17000}}).appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerCopy { // get past the checksum
			binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:headerCopy], castagnoli))
		}
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		again, err := parseHeader(h.appendTo(nil))
		if err != nil || again.gen != h.gen || again.size != h.size || len(again.ends) != len(h.ends) {
			t.Fatalf("%+v reads back as %+v, %v", h, again, err)
		}
	})
}

// Records that are appended together lie in their order, share syncs with others, and
// end with the first that finds no room.
func TestAppendAll(t *testing.T) {
	l, err := Open(t.TempDir(), Options{SegmentSize: 64 << 10, MaxBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if refs, err := l.AppendAll(nil); err != nil || len(refs) != 0 {
		t.Errorf("nothing: %v %v", refs, err)
	}
	var together sync.WaitGroup
	for w := range 4 {
		together.Go(func() {
			for n := range 3 {
				var all [][]byte
				for i := range 10 {
					all = append(all, fmt.Appendf(nil, "%d %d %d", w, n, i))
				}
				refs, err := l.AppendAll(all)
				if err != nil || len(refs) != 10 {
					t.Errorf("%d records, %v", len(refs), err)
					return
				}
				for i, ref := range refs {
					if got, err := l.Read(ref); err != nil || string(got) != string(all[i]) {
						t.Errorf("got %q %v, want %q", got, err, all[i])
					}
					if i > 0 && refs[i-1].Compare(ref) >= 0 {
						t.Errorf("%v does not come after %v", ref, refs[i-1])
					}
				}
			}
		})
	}
	together.Wait()
	big := make([][]byte, 100)
	for i := range big {
		big[i] = make([]byte, 10<<10)
	}
	refs, err := l.AppendAll(big)
	if !errors.Is(err, ErrFull) || len(refs) == 0 || len(refs) > 25 {
		t.Fatalf("%d records into a full log, %v", len(refs), err)
	}
	if more, err := l.AppendAllReserve(big[:2]); err != nil || len(more) != 2 {
		t.Errorf("the reserve: %v", err)
	}
	if _, err := l.AppendAll([][]byte{nil, make([]byte, 1<<20)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}
