package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"clinicgate/syncd/disk"
	"clinicgate/syncd/disk/crashdisk"
)

// A witness knows what was promised and checks a log against it.
type witness struct {
	next    uint64
	tried   map[uint64][]byte // every record ever handed to Append
	sure    map[uint64]Ref    // must be there: Append returned, or a Scan showed it
	refused map[uint64]bool   // Append failed; gone for good once another succeeded
	never   map[uint64]bool   // must not be there any more
	leaving map[uint64]bool   // segments whose Retire was called: there or not
}

func newWitness() *witness {
	return &witness{tried: map[uint64][]byte{}, sure: map[uint64]Ref{}, refused: map[uint64]bool{},
		never: map[uint64]bool{}, leaving: map[uint64]bool{}}
}

// record makes the next one: its number, then bytes that only it has.
func (w *witness) record(size int) []byte {
	w.next++
	b := binary.BigEndian.AppendUint64(nil, w.next)
	rng := rand.NewChaCha8([32]byte(append(b, make([]byte, 24)...)))
	b = append(b, make([]byte, size)...)
	rng.Read(b[8:])
	w.tried[w.next] = b
	return b
}

// check opens nothing and repairs nothing: it says what is wrong with the log.
func (w *witness) check(l *Log) error {
	found := map[uint64]Ref{}
	var last Ref
	err := l.Scan(func(ref Ref, b []byte) error {
		if last.Compare(ref) >= 0 {
			return fmt.Errorf("record at %v after the one at %v", ref, last)
		}
		last = ref
		if len(b) < 8 || !bytes.Equal(b, w.tried[binary.BigEndian.Uint64(b)]) {
			return fmt.Errorf("record at %v is none that was appended", ref)
		}
		n := binary.BigEndian.Uint64(b)
		if was, twice := found[n]; twice {
			return fmt.Errorf("record %d is at %v and at %v", n, was, ref)
		}
		if w.never[n] {
			return fmt.Errorf("record %d is back, at %v", n, ref)
		}
		found[n] = ref
		if got, err := l.Read(ref); err != nil || !bytes.Equal(got, w.tried[n]) {
			return fmt.Errorf("record %d reads as %d bytes, %v", n, len(got), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for n, ref := range w.sure {
		switch at, ok := found[n]; {
		case w.leaving[ref.Segment()]:
		case !ok:
			return fmt.Errorf("record %d, promised at %v, is gone", n, ref)
		case at != ref:
			return fmt.Errorf("record %d, promised at %v, is at %v", n, ref, at)
		}
	}
	for n := range w.tried {
		if ref, ok := found[n]; ok {
			w.sure[n] = ref // once seen, it must stay
			delete(w.refused, n)
		} else {
			w.never[n] = true // once missing, it must not come back
			delete(w.sure, n)
		}
	}
	return nil
}

// work appends some records at once, as concurrent callers do, and retires now
// and then. It stops when the power is gone, and soon after a fault, as a process
// may that has met one.
func (w *witness) work(l *Log, dsk *crashdisk.Disk, dice *rand.Rand, steps int) error {
	for range steps {
		if dsk.At > 0 && dsk.Steps() >= dsk.At && dice.IntN(3) == 0 {
			return nil
		}
		var group []*waiter
		first := w.next + 1
		for range 1 + dice.IntN(3) {
			size := []int{0, 80, 80, 500, 500, 1000}[dice.IntN(6)] // often alike
			group = append(group, &waiter{record: w.record(size), reserve: dice.IntN(5) == 0})
		}
		l.commit(group)
		if err := w.heed(group, first); err != nil {
			return err
		}
		if err := w.retire(l); err != nil {
			return err
		}
	}
	return nil
}

// heed notes what a group was told.
func (w *witness) heed(group []*waiter, first uint64) error {
	for i, g := range group {
		n := first + uint64(i)
		switch {
		case g.err == nil:
			w.sure[n] = g.ref
			for old := range w.refused {
				w.never[old] = true
			}
			clear(w.refused)
		case errors.Is(g.err, crashdisk.ErrPower):
			return g.err
		case errors.Is(g.err, crashdisk.ErrIO), errors.Is(g.err, ErrFull):
			w.refused[n] = true
		default:
			return fmt.Errorf("append: %w", g.err)
		}
	}
	return nil
}

// retire gives up the oldest segment when there are five.
func (w *witness) retire(l *Log) error {
	all := l.Segments()
	if len(all) <= 4 {
		return nil
	}
	gen := all[0].Gen
	w.leaving[gen] = true
	err := l.Retire(gen)
	if err == nil {
		for n, ref := range w.sure {
			if ref.Segment() == gen {
				w.never[n] = true
				delete(w.sure, n)
			}
		}
	}
	if errors.Is(err, crashdisk.ErrPower) {
		return err
	}
	return nil
}

func smallLog(fs disk.FS) (*Log, error) {
	return Open("", Options{SegmentSize: minSize, FS: fs, Background: func(f func()) { f() }})
}

// runCrash plays four lives: work with one fault at step at of the first, each
// ended by a power cut or by the death of the process alone, each begun with a
// check. It returns how many steps the first took.
func runCrash(at int, f crashdisk.Fault, seed uint64) (steps int, err error) {
	dice := rand.New(rand.NewPCG(seed, uint64(at)))
	w, dsk := newWitness(), crashdisk.New()
	dsk.At, dsk.Fault = at, f
	for life := range 4 {
		l, err := smallLog(dsk)
		if err == nil {
			if err := w.check(l); err != nil {
				return 0, fmt.Errorf("life %d: %w", life, err)
			}
			steps := 20
			if life > 0 {
				steps = max(0, dice.IntN(15)-3) // sometimes none: what was found must last
			}
			if err := w.work(l, dsk, dice, steps); err != nil && !errors.Is(err, crashdisk.ErrPower) {
				return 0, fmt.Errorf("life %d: %w", life, err)
			}
		} else if !errors.Is(err, crashdisk.ErrPower) && !errors.Is(err, crashdisk.ErrIO) {
			return 0, fmt.Errorf("life %d: %w", life, err)
		}
		if life == 0 {
			steps = dsk.Steps()
		}
		if dice.IntN(3) == 0 {
			dsk = dsk.Restart()
		} else {
			dsk = dsk.Reboot(dice)
		}
	}
	l, err := smallLog(dsk)
	if err != nil {
		return 0, fmt.Errorf("reopen: %w", err)
	}
	return steps, w.check(l)
}

// At every step of a log's life, every kind of crashdisk.Fault, then lives after it.
func TestEveryStepFails(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 1
	}
	runs := 0
	for _, f := range crashdisk.Faults() {
		for seed := range seeds {
			steps, err := runCrash(0, crashdisk.None, seed)
			for at := 1; at <= steps && err == nil; at++ {
				if _, err = runCrash(at, f, seed); err != nil {
					t.Fatalf("%v at step %d, seed %d: %v", f, at, seed, err)
				}
				runs++
			}
			if err != nil {
				t.Fatalf("without a fault, seed %d: %v", seed, err)
			}
		}
	}
	t.Logf("%d runs", runs)
}
