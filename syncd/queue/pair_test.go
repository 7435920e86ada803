package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"clinicgate/syncd/disk/crashdisk"
	"clinicgate/syncd/segment"
)

var secret = []byte("of the pair")

// boxes are the queues of a pair: each seals under a key of its own.
func boxes(t *testing.T) (a, b *Queue) {
	t.Helper()
	a = mustOpen(t, t.TempDir(), domain(t), Options{Pair: secret})
	return a, mustOpen(t, t.TempDir(), domain(t), Options{Pair: secret})
}

// hand copies an item from one box to the other.
func hand(t *testing.T, from, to *Queue, id ID) *Conflict {
	t.Helper()
	c, err := from.Copy(id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := from.Body(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conflict, err := to.Import(context.Background(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	return conflict
}

// names lists what a box knows, for comparing.
func names(q *Queue) (all []string) {
	for _, k := range q.Known() {
		all = append(all, fmt.Sprintf("%x %v %d %v", k.Name[:4], k.Standing.State, k.Standing.Rev, k.Accepted.UnixNano()))
	}
	slices.Sort(all)
	return all
}

// A copy has the same receipt but for the box's own number, and the same bytes; it
// outlives a restart, is asked for before it is sent, and comes a second time as
// the same. The names are the same in both boxes and tell nothing without the key.
func TestImport(t *testing.T) {
	dir, d := t.TempDir(), domain(t)
	a, b := mustOpen(t, t.TempDir(), domain(t), Options{Pair: secret}), mustOpen(t, dir, d, Options{Pair: secret, Share: 10})
	for i, n := range []int{1, 70_000, chunkSize, 2*chunkSize + 3} {
		content := noise(n, byte(i))
		r := mustAccept(t, a, item(fmt.Sprint("k", n)), content)
		for range 2 {
			if c := hand(t, a, b, r.ID); c != nil {
				t.Fatal(c)
			}
		}
		got, ok := b.Named(fmt.Sprint("k", n))
		if !ok || got.Digest != r.Digest || got.Size != r.Size || !got.Accepted.Equal(r.Accepted) || !bytes.Equal(body(t, b, got.ID), content) {
			t.Fatalf("%d bytes: got %+v, want %+v", n, got, r)
		}
	}
	if !slices.Equal(names(a), names(b)) {
		t.Errorf("got %v, want %v", names(b), names(a))
	}
	if other := mustOpen(t, t.TempDir(), domain(t), Options{Pair: []byte("another")}); other.name("k", Digest{}) == a.name("k", Digest{}) {
		t.Error("the name doesn't depend on the pair's secret")
	}
	b.Close()
	b = mustOpen(t, dir, d, Options{Pair: secret})
	for _, w := range b.List(Waiting) {
		if it, tried, err := b.Begin(w.ID, "hospital"); err != nil || !tried {
			t.Errorf("%s: tried %v, %v", it.Key, tried, err)
		}
	}
	if r := verify(t, b); r.Items[Delivering] != 4 {
		t.Errorf("%+v", r)
	}
}

// Standings meet in the same end, in whatever order they are told.
func TestLater(t *testing.T) {
	all := []Standing{
		{State: Waiting}, {State: Held}, {State: Held, Rev: 1}, {State: Waiting, Rev: 1}, {State: Waiting, Rev: 2}, {State: Held, Rev: 3}, {State: Delivered}, {State: Delivered, Rev: 2},
	}
	for i, s := range all {
		for j, o := range all {
			same := s.State == o.State && (s.Rev == o.Rev || s.State == Delivered)
			if s.Later(o) == o.Later(s) && !same || s.Later(o) && same {
				t.Errorf("%d and %d: %v, %v", i, j, s.Later(o), o.Later(s))
			}
			for _, u := range all { // an order: the end doesn't depend on the way
				if s.Later(o) && o.Later(u) && !s.Later(u) {
					t.Errorf("%+v, %+v, %+v go round", s, o, u)
				}
			}
		}
	}
}

// What is decided in one box holds in the other: held, released by name, delivered;
// and an older word changes nothing, also after a restart.
func TestMerge(t *testing.T) {
	a, b := boxes(t)
	r := mustAccept(t, a, item("k"), noise(100, 1))
	hand(t, a, b, r.ID)
	here, _ := b.Named("k")
	var told []string
	b.Observe(func(ID, bool) { told = append(told, "b") })
	var before Standing
	step := func(want State, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		c, err := a.Copy(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []Standing{c.Standing, before, c.Standing} {
			if err := b.Merge("k", r.Digest, s); err != nil {
				t.Fatal(err)
			}
		}
		before = c.Standing
		if got, _ := b.known(here.ID); got.State != want || got.Released != c.Standing.Released || got.Why != c.Standing.Why {
			t.Fatalf("got %+v, want %+v", got, c.Standing)
		}
	}
	before = Standing{State: Waiting}
	step(Held, func() error { return a.Hold(r.ID, "no such patient") })
	step(Waiting, func() error { return a.Release(r.ID, "Eva") })
	step(Delivered, func() error {
		if _, _, err := a.Begin(r.ID, "hospital"); err != nil {
			return err
		}
		return a.Done(r.ID, "read back")
	})
	if len(told) > 0 {
		t.Errorf("what the other box said was told as news: %v", told)
	}
	if err := b.Merge("k", Digest{1}, before); !errors.Is(err, ErrUnknown) {
		t.Errorf("other content: %v", err)
	}
	if err := b.Merge("k", r.Digest, Standing{State: Delivering}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an attempt of the other box's: %v", err)
	}
	if b.Lanes()[1].Delivered != 1 {
		t.Errorf("got %+v", b.Lanes())
	}
}

// An attempt under way ends before a person's word from the other box counts; that
// the item was delivered counts at once.
func TestMergeMeetsAttempt(t *testing.T) {
	a, b := boxes(t)
	r := mustAccept(t, a, item("k"), noise(100, 1))
	hand(t, a, b, r.ID)
	here, _ := b.Named("k")
	if _, _, err := b.Begin(here.ID, "hospital"); err != nil {
		t.Fatal(err)
	}
	if err := b.Merge("k", r.Digest, Standing{State: Held, Rev: 1, At: now(), Why: "look"}); !errors.Is(err, ErrState) {
		t.Errorf("held while it is sent: %v", err)
	}
	if err := b.Merge("k", r.Digest, Standing{State: Delivered, At: now(), Where: "hospital", Why: "there"}); err != nil {
		t.Error(err)
	}
	if err := b.Done(here.ID, "stored"); !errors.Is(err, ErrState) {
		t.Errorf("delivered twice: %v", err)
	}
}

// Two boxes that were apart took different contents under one identity: both keep
// both, nothing is sent, and a person is told.
func TestClash(t *testing.T) {
	a, b := boxes(t)
	one, other := mustAccept(t, a, item("k"), noise(100, 1)), mustAccept(t, b, item("k"), noise(100, 2))
	for again := range 2 { // it comes again as the same
		c := hand(t, a, b, one.ID)
		d := hand(t, b, a, other.ID)
		if again == 0 && (c == nil || c.Have != other.Digest || c.Sent != one.Digest || d == nil) || again > 0 && (c != nil || d != nil) {
			t.Fatalf("time %d: got %v and %v", again, c, d)
		}
	}
	for _, k := range b.Known() {
		if c := hand(t, b, a, k.ID); c != nil {
			t.Error("what came from a clashes there")
		}
	}
	for _, k := range a.Known() {
		hand(t, a, b, k.ID)
	}
	if !slices.Equal(names(a), names(b)) {
		t.Errorf("got %v, want %v", names(b), names(a))
	}
	for name, q := range map[string]*Queue{"a": a, "b": b} {
		held := map[Digest]bool{}
		for _, h := range q.List(Held) {
			held[h.Digest] = true
		}
		if r := verify(t, q); len(held) != 2 || !held[one.Digest] || !held[other.Digest] || r.Items[Held] != 2 || r.Items[Waiting] != 0 {
			t.Errorf("%s: %+v, held %v", name, r, held)
		}
	}
}

// A copy that is not what it says, or lacks what a box always says, leaves nothing.
func TestImportRefuses(t *testing.T) {
	_, b := boxes(t)
	content := noise(2*chunkSize+9, 3)
	good := Copy{Item: item("k"), Standing: Standing{State: Waiting}}
	good.Item.Accepted, good.Item.Size = now(), int64(len(content))
	good.Item.Digest = sha256.Sum256(content)
	for name, c := range map[string]func(c *Copy, content []byte) []byte{
		"altered":     func(_ *Copy, b []byte) []byte { b[chunkSize] ^= 1; return b },
		"cut":         func(_ *Copy, b []byte) []byte { return b[:chunkSize] },
		"longer":      func(_ *Copy, b []byte) []byte { return append(b, 1) },
		"empty":       func(*Copy, []byte) []byte { return nil },
		"no digest":   func(c *Copy, b []byte) []byte { c.Item.Digest = Digest{}; return b },
		"no time":     func(c *Copy, b []byte) []byte { c.Item.Accepted = time.Time{}; return b },
		"no key":      func(c *Copy, b []byte) []byte { c.Item.Key = ""; return b },
		"an attempt":  func(c *Copy, b []byte) []byte { c.Standing.State = Delivering; return b },
		"no standing": func(c *Copy, b []byte) []byte { c.Standing.State = 0; return b },
	} {
		c2 := good
		text := c(&c2, slices.Clone(content))
		if _, err := b.Import(context.Background(), c2, bytes.NewReader(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	old := good
	old.Standing = Standing{State: Delivered, At: now().Add(-b.retention - time.Hour)}
	if _, err := b.Import(context.Background(), old, bytes.NewReader(content)); err != nil {
		t.Errorf("delivered long ago: %v", err)
	}
	if n := len(b.Known()); n != 0 {
		t.Errorf("%d items are here", n)
	}
}

// The power of either box goes at any step of copying and delivering: what was
// acknowledged after it was in both is there after either disk is lost, is sent once,
// and both boxes end with the same.
func TestPairLosesPower(t *testing.T) {
	stride := 7
	if testing.Short() {
		stride = 11
	}
	run := func(at int, f crashdisk.Fault, hit int, seed uint64) int {
		dice := rand.New(rand.NewPCG(seed, 9))
		domains := [2]Options{}
		disks := [2]*crashdisk.Disk{crashdisk.New(), crashdisk.New()}
		for i := range domains {
			domains[i] = Options{Domain: domain(t), Pair: secret, chunk: 600, Segment: segment.Options{SegmentSize: crashSegment, Background: func(f func()) { f() }}}
		}
		disks[hit].At, disks[hit].Fault = at, f
		there, acked := map[string]int{}, map[string]bool{}
		steps := 0
		for life := range 3 {
			var q [2]*Queue
			for i := range q {
				o := domains[i]
				o.Segment.FS = disks[i]
				var err error
				if q[i], err = Open("", o); err != nil && life > 0 {
					t.Fatalf("life %d of box %d: %v", life, i, err)
				}
			}
			if q[0] != nil && q[1] != nil {
				livePair(t, q, dice, life, there, acked)
			}
			if life == 0 {
				steps = disks[hit].Steps()
			}
			for i := range disks {
				disks[i] = disks[i].Reboot(dice)
			}
		}
		for key := range acked {
			if there[key] != 1 {
				t.Fatalf("%v at step %d of box %d: %s is at the hospital %d times", f, at, hit, key, there[key])
			}
		}
		return steps
	}
	for hit := range 2 {
		steps := run(0, crashdisk.None, hit, 1)
		for _, f := range crashdisk.Faults() {
			for at := 1; at <= steps; at += stride {
				run(at, f, hit, uint64(at))
			}
		}
	}
}

// livePair is one life: items come in at box life%2, which is master, are copied and
// then acknowledged; some are delivered by the master. At the end of it the disk of
// one box is not looked at any more: the next life's master has to have everything.
func livePair(t *testing.T, q [2]*Queue, dice *rand.Rand, life int, there map[string]int, acked map[string]bool) {
	t.Helper()
	master, other := q[life%2], q[1-life%2]
	for key := range acked { // before the boxes met again
		if _, ok := master.Named(key); !ok {
			t.Fatalf("life %d: %s was acknowledged and the new master has it not", life, key)
		}
	}
	for _, k := range other.Known() { // the join
		c, err := other.Copy(k.ID)
		if err != nil {
			return
		}
		r, err := other.Body(k.ID)
		if err != nil {
			return
		}
		if _, err := master.Import(context.Background(), c, r); err != nil {
			return
		}
	}
	deliver := func() bool {
		for _, w := range master.List(Waiting) {
			it, tried, err := master.Begin(w.ID, "hospital")
			if err != nil {
				return false
			}
			if there[it.Key] > 0 && !tried {
				t.Fatalf("%s is at the hospital and the queue says it was never tried", it.Key)
			}
			if there[it.Key] == 0 {
				there[it.Key]++
			}
			if dice.IntN(4) == 0 { // the answer was lost
				if master.Again(w.ID) != nil {
					return false
				}
				continue
			}
			if master.Done(w.ID, "yes") != nil {
				return false
			}
		}
		return true
	}
	for i := range 4 {
		key := fmt.Sprintf("life %d item %d", life, i)
		r, err := master.Accept(context.Background(), item(key), bytes.NewReader(noise(1+dice.IntN(1500), byte(i))))
		if err != nil {
			return
		}
		c, err := master.Copy(r.ID)
		if err != nil {
			return
		}
		from, err := master.Body(r.ID)
		if err != nil {
			return
		}
		if _, err := other.Import(context.Background(), c, io.Reader(from)); err != nil {
			return
		}
		acked[key] = true
		if i == 1 && !deliver() {
			return
		}
	}
	for range 20 {
		if !deliver() || len(master.List(Waiting)) == 0 {
			return
		}
	}
}
