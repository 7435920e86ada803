package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"clinicgate/syncd/disk/crashdisk"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// A clinic is what the queue must not disappoint: a device that hands items over
// until it has a receipt, and a hospital that counts what it gets.
type clinic struct {
	dice   *rand.Rand
	domain *vault.Domain
	disk   *crashdisk.Disk
	sent   int
	open   map[string][]byte  // handed over, no receipt yet
	kept   map[string]Receipt // receipts
	bodies map[string][]byte
	held   map[ID]bool // Hold returned
	closed map[ID]bool // Done returned
	there  map[string]int
	anew   map[string]bool // handed over once more after it was delivered and forgotten
}

func newClinic(t *testing.T, seed uint64) *clinic {
	return &clinic{
		dice: rand.New(rand.NewPCG(seed, 7)), domain: domain(t), disk: crashdisk.New(), open: map[string][]byte{}, kept: map[string]Receipt{},
		bodies: map[string][]byte{}, held: map[ID]bool{}, closed: map[ID]bool{}, there: map[string]int{}, anew: map[string]bool{},
	}
}

const crashSegment = 24 << 10

func (c *clinic) openQueue() (*Queue, error) {
	return Open("", Options{Domain: c.domain, Retention: time.Nanosecond, chunk: 600, Segment: segment.Options{
		SegmentSize: crashSegment, FS: c.disk, Background: func(f func()) { f() },
	}})
}

// live is one life of the box: hand over, deliver, hold, tidy up, until the power
// goes or it has done enough. Errors that name no disaster are the test's.
func (c *clinic) live(q *Queue, steps int) error {
	for range steps {
		var err error
		switch c.dice.IntN(6) {
		case 0, 1, 2:
			err = c.handOver(q)
		case 3, 4:
			err = c.deliver(q)
		case 5:
			err = q.Maintain(time.Now())
		}
		if errors.Is(err, crashdisk.ErrPower) || c.disk.Off() {
			return nil
		}
		if err != nil && !errors.Is(err, crashdisk.ErrIO) && !errors.Is(err, ErrFull) {
			return err
		}
	}
	return nil
}

// handOver sends a new item, or again one without receipt, or one that has one.
func (c *clinic) handOver(q *Queue) error {
	key := ""
	for k := range c.open {
		key = k
	}
	if key == "" || c.dice.IntN(2) == 0 {
		c.sent++
		key = fmt.Sprint("item ", c.sent)
		c.bodies[key] = noise(1+c.dice.IntN(2500), byte(c.sent))
		c.open[key] = c.bodies[key]
	}
	id := q.blind("key", key)
	if _, known := q.known(id); !known && c.there[key] > 0 {
		c.anew[key] = true
		delete(c.closed, id)
		delete(c.held, id)
	}
	r, err := q.Accept(context.Background(), item(key), bytes.NewReader(c.bodies[key]))
	if err != nil {
		return err
	}
	delete(c.open, key)
	c.kept[key] = r
	again, err := q.Accept(context.Background(), item(key), bytes.NewReader(c.bodies[key]))
	if err == nil && again != r {
		return fmt.Errorf("%s: receipts %+v and %+v", key, r, again)
	}
	return err
}

// deliver makes an attempt for some waiting item, as the engine does.
func (c *clinic) deliver(q *Queue) error {
	waiting := q.List(Waiting)
	if len(waiting) == 0 {
		return nil
	}
	id := waiting[c.dice.IntN(len(waiting))].ID
	it, tried, err := q.Begin(id, "hospital")
	if err != nil {
		return err
	}
	if c.there[it.Key] > 0 && !tried && !c.anew[it.Key] {
		return fmt.Errorf("%s is at the hospital and the queue says it was never tried", it.Key)
	}
	if c.dice.IntN(5) == 0 {
		err := q.Hold(id, "no such patient")
		c.held[id] = c.held[id] || err == nil
		return err
	}
	if c.there[it.Key] == 0 {
		r, err := q.Body(id)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, c.bodies[it.Key]) {
			return fmt.Errorf("%s reached the hospital altered", it.Key)
		}
		c.there[it.Key]++
	}
	if err := q.Done(id, "yes"); err != nil {
		return errors.Join(err, q.Again(id))
	}
	c.closed[id] = true
	return nil
}

// check holds the queue against every promise.
func (c *clinic) check(q *Queue) error {
	if err := q.Damage(); err != nil {
		return err
	}
	r, err := q.Verify(context.Background())
	if err != nil || len(r.Problems) > 0 {
		return fmt.Errorf("verify: %v, %v", r.Problems, err)
	}
	for key, receipt := range c.kept {
		b, ok := q.known(receipt.ID)
		switch {
		case c.closed[receipt.ID]:
			if ok && b.State != Delivered {
				return fmt.Errorf("%s was delivered and is %v", key, b.State)
			}
		case !ok && c.there[key] > 0: // delivered, marked as the power went, and forgotten since
		case !ok:
			return fmt.Errorf("%s has a receipt and is gone", key)
		case b.receipt() != receipt:
			return fmt.Errorf("%s has receipt %+v and is %+v", key, receipt, b.receipt())
		case c.held[receipt.ID] && b.State != Held:
			return fmt.Errorf("%s was held and is %v", key, b.State)
		case b.State == Delivered && c.there[key] == 0:
			return fmt.Errorf("%s counts as delivered and is not there", key)
		}
	}
	return nil
}

func runClinic(t *testing.T, at int, f crashdisk.Fault, seed uint64) (steps int, err error) {
	c := newClinic(t, seed)
	c.disk.At, c.disk.Fault = at, f
	for life := range 4 {
		q, err := c.openQueue()
		switch {
		case err == nil:
			if err = c.check(q); err == nil {
				err = c.live(q, 25)
			}
			if err != nil {
				return 0, fmt.Errorf("life %d: %w", life, err)
			}
		case !errors.Is(err, crashdisk.ErrPower) && !errors.Is(err, crashdisk.ErrIO):
			return 0, fmt.Errorf("life %d: %w", life, err)
		}
		if life == 0 {
			steps = c.disk.Steps()
		}
		if c.dice.IntN(3) == 0 {
			c.disk = c.disk.Restart()
		} else {
			c.disk = c.disk.Reboot(c.dice)
		}
	}
	q, err := c.openQueue()
	if err != nil {
		return 0, err
	}
	if err := c.check(q); err != nil {
		return 0, fmt.Errorf("at the end: %w", err)
	}
	for i := 0; len(q.List(Waiting)) > 0 && i < 1000; i++ {
		if err := c.deliver(q); err != nil {
			return 0, fmt.Errorf("at the end: %w", err)
		}
	}
	for key, n := range c.there {
		if n != 1 {
			return 0, fmt.Errorf("%s is at the hospital %d times", key, n)
		}
	}
	return steps, c.check(q)
}

// At steps all over the disk's life, every kind of fault: nothing acknowledged is
// lost, doubled or altered. CLINICGATE_CRASH=all takes every step.
func TestEveryStepFails(t *testing.T) {
	seeds, stride := uint64(3), 6
	if testing.Short() {
		seeds, stride = 1, 20
	}
	if os.Getenv("CLINICGATE_CRASH") == "all" {
		stride = 1
	}
	runs := 0
	for seed := range seeds {
		steps, err := runClinic(t, 0, crashdisk.None, seed)
		if err != nil {
			t.Fatalf("without a fault, seed %d: %v", seed, err)
		}
		for _, f := range crashdisk.Faults() {
			for at := 1 + int(seed); at <= steps; at += stride {
				if _, err := runClinic(t, at, f, seed); err != nil {
					t.Fatalf("%v at step %d, seed %d: %v", f, at, seed, err)
				}
				runs++
			}
		}
	}
	t.Logf("%d runs", runs)
}
