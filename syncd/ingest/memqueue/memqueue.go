// Package memqueue is a queue in memory for tests of the ways in. It keeps the
// rules of syncd/queue that senders can see: the same key with the same body is
// the same item, with another body a conflict; a body that can't be read to its
// end leaves nothing; and it can be told to be full, to fail, or to take its time.
package memqueue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/queue"
)

// Queue is the queue. The zero value is ready.
type Queue struct {
	mu    sync.Mutex
	items map[string]Stored
	full  bool
	err   error
	gate  chan struct{}
	calls int
}

// Stored is an item and its body.
type Stored struct {
	queue.Item
	Body []byte
}

// SetFull makes every new item find no room.
func (q *Queue) SetFull(full bool) { q.mu.Lock(); q.full = full; q.mu.Unlock() }

// SetError makes Accept fail with err after it has read the body.
func (q *Queue) SetError(err error) { q.mu.Lock(); q.err = err; q.mu.Unlock() }

// Block makes Accept wait, body read and nothing kept yet, until the returned
// function is called.
func (q *Queue) Block() (release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	gate := make(chan struct{})
	q.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Calls counts how often Accept was entered.
func (q *Queue) Calls() int { q.mu.Lock(); defer q.mu.Unlock(); return q.calls }

// Items lists what was accepted, by key.
func (q *Queue) Items() []Stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []Stored
	for _, key := range slices.Sorted(maps.Keys(q.items)) {
		all = append(all, q.items[key])
	}
	return all
}

// Accept keeps an item.
func (q *Queue) Accept(ctx context.Context, it queue.Item, body io.Reader) (queue.Receipt, error) {
	q.mu.Lock()
	q.calls++
	full, fail, gate := q.full, q.err, q.gate
	q.mu.Unlock()
	if full {
		return queue.Receipt{}, queue.ErrFull
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, body); err != nil {
		return queue.Receipt{}, err
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return queue.Receipt{}, ctx.Err()
		}
	}
	if fail != nil {
		return queue.Receipt{}, fail
	}
	return q.keep(it, b.Bytes())
}

func (q *Queue) keep(it queue.Item, body []byte) (queue.Receipt, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.Key == "" || it.Kind == "" || it.Origin == "" || it.Lane == 0 {
		return queue.Receipt{}, queue.ErrInvalid
	}
	digest := queue.Digest(sha256.Sum256(body))
	if it.Digest != (queue.Digest{}) && it.Digest != digest || it.Size != 0 && it.Size != int64(len(body)) {
		return queue.Receipt{}, queue.ErrDigest
	}
	name := sha256.Sum256([]byte(it.Key))
	id := queue.ID(name[:16])
	receipt := queue.Receipt{ID: id, Digest: digest, Size: int64(len(body))}
	if old, ok := q.items[it.Key]; ok {
		if have := queue.Digest(sha256.Sum256(old.Body)); have != digest {
			return queue.Receipt{}, &queue.Conflict{ID: id, Have: have, Sent: digest}
		}
		return receipt, nil
	}
	if q.items == nil {
		q.items = map[string]Stored{}
	}
	q.items[it.Key] = Stored{it, body}
	return receipt, nil
}

// Faults collects faults. The zero value is ready.
type Faults struct {
	mu  sync.Mutex
	set []wire.Fault
}

// Raise adds a fault.
func (f *Faults) Raise(n wire.Fault) { f.mu.Lock(); f.set = append(f.set, n); f.mu.Unlock() }

// Clear takes faults away.
func (f *Faults) Clear(id, where string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.set)
	f.set = slices.DeleteFunc(f.set, func(n wire.Fault) bool { return n.ID == id && n.Where == where })
	return len(f.set) < before
}

// List lists what stands.
func (f *Faults) List() []wire.Fault { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.set) }

// ErrDisk is an error of a disk, for SetError.
var ErrDisk = errors.New("input/output error")
