package queue

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A Name is an item's in both boxes of a pair: a keyed digest of its Key and its
// content's digest. Items with one Key and other contents have other Names.
type Name [16]byte

// Standing is how far an item has come, as the boxes of a pair tell each other.
// Of two standings of one item the later one holds (see Later), so it doesn't
// matter in which order they are told, nor how often.
type Standing struct {
	State    State     `json:"state"` // Waiting, Held or Delivered
	Rev      uint32    `json:"rev,omitempty"`
	At       time.Time `json:"at"`
	Where    string    `json:"where,omitempty"`
	Why      string    `json:"why,omitempty"`
	Released string    `json:"released,omitempty"`
}

// Rank orders standings: delivered is for ever; of the rest the one with more
// decisions behind it holds, and of two that were made apart the one that waits for
// a person.
func (s Standing) Rank() uint64 {
	switch s.State {
	case Delivered:
		return math.MaxUint64
	case Held:
		return 2*uint64(s.Rev) + 1
	}
	return 2 * uint64(s.Rev)
}

// Later reports whether s holds where other is known.
func (s Standing) Later(other Standing) bool { return s.Rank() > other.Rank() }

// standing leaves out an attempt under way: it is nobody's but this box's.
func (e *entry) standing() Standing {
	s := Standing{State: e.State, Rev: e.rev, At: e.Changed, Where: e.Where, Why: e.Why, Released: e.Released}
	if s.State == Delivering {
		s.State = Waiting
	}
	return s
}

// Known is what is compared with the other box.
type Known struct {
	ID       ID
	Name     Name
	Standing Standing
	Size     int64
	Accepted time.Time
}

// Known lists all items, in no order.
func (q *Queue) Known() []Known {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Known, 0, len(q.entries))
	for id, e := range q.entries {
		all = append(all, Known{ID: id, Name: e.name, Standing: e.standing(), Size: e.Size, Accepted: e.Accepted})
	}
	return all
}

// Secret makes the secret of item names from the pair's key.
func Secret(key [32]byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("clinicgate names of a pair's items 1"))
	return mac.Sum(nil)
}

// name makes an item's Name. The other content of a clash has the Name that it has
// in the box that accepted it.
func (q *Queue) name(key string, d Digest) (n Name) {
	if q.pair == nil {
		return n
	}
	sum := sha256.Sum256([]byte(key))
	if rest, ok := strings.CutPrefix(key, clashKey); ok && len(rest) > 2*len(sum) {
		if named, err := hex.DecodeString(rest[:2*len(sum)]); err == nil {
			copy(sum[:], named)
		}
	}
	mac := hmac.New(sha256.New, q.pair)
	mac.Write(d[:])
	mac.Write(sum[:])
	copy(n[:], mac.Sum(nil))
	return n
}

// NameOf returns an item's Name.
func (q *Queue) NameOf(id ID) (n Name, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[id]; e != nil {
		return e.name, true
	}
	return n, false
}

// named finds an item by what it is called in both boxes.
func (q *Queue) named(key string, d Digest) (e entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	id, ok := q.names[q.name(key, d)]
	if ok {
		e = *q.entries[id]
	}
	return e, ok
}

// Observe has fn told of every item that comes in here, fresh, and of everything
// that is decided about one; not of what the other box said. fn must be quick and
// must not call the queue.
func (q *Queue) Observe(fn func(id ID, fresh bool)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.observe = fn
}

// tell tells the observer. The caller holds mu.
func (q *Queue) tell(id ID, fresh bool) {
	if q.observe != nil {
		q.observe(id, fresh)
	}
}

// A Copy is what the other box needs to hold the same item, but the body.
type Copy struct {
	Item     Item     `json:"item"`
	Standing Standing `json:"standing"`
}

// Copy describes an item for the other box.
func (q *Queue) Copy(id ID) (Copy, error) {
	q.mu.Lock()
	var known entry
	e := q.entries[id]
	if e != nil {
		known = *e
	}
	q.mu.Unlock()
	if e == nil {
		return Copy{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	}
	it, err := q.describe(known)
	if err != nil {
		return Copy{}, err
	}
	it.Released = ""
	return Copy{Item: it, Standing: known.standing()}, nil
}

// Import keeps an item that the other box accepted, under its receipt, and returns
// once it is durable here. It is never sent without asking the destination first:
// the other box may have sent it. One that this box knows takes the later of both
// standings; one that was delivered longer ago than the retention is not kept.
//
// If this box has accepted other content under the same Key, both are held for a
// person, in both boxes, and the Conflict is returned besides: neither sender can
// be told no any more.
//
//	item appended    stop here: it waits, and is asked for before it is sent
//	mark appended    it has the other box's standing
func (q *Queue) Import(ctx context.Context, c Copy, body io.Reader) (*Conflict, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Standing.State == Delivered && c.Standing.At.Before(now().Add(-q.retention)) {
		return nil, nil
	}
	id := q.blind("key", c.Item.Key)
	release, err := q.claim(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer release()
	if _, ok := q.named(c.Item.Key, c.Item.Digest); ok {
		return nil, q.Merge(c.Item.Key, c.Item.Digest, c.Standing)
	}
	if have, ok := q.known(id); ok {
		return q.clash(ctx, have, c, body)
	}
	return nil, q.copyIn(ctx, id, c, body)
}

// check says what another box may not have meant.
func (c *Copy) check() error {
	if err := c.Item.check(); err != nil {
		return err
	}
	switch s := c.Standing; {
	case c.Item.Digest == Digest{} || c.Item.Size <= 0 || c.Item.Accepted.IsZero():
		return fmt.Errorf("%w: copy without digest, size or time", ErrInvalid)
	default:
		return s.check()
	}
}

func (s Standing) check() error {
	if s.State != Waiting && s.State != Held && s.State != Delivered {
		return fmt.Errorf("%w: standing %v", ErrInvalid, s.State)
	}
	if n := len(s.Where) + len(s.Why) + len(s.Released); n > MaxMeta {
		return fmt.Errorf("%w: standing of %d bytes", ErrInvalid, n)
	}
	return nil
}

// copyIn keeps an item that is not here. It comes to wait only once it has the other
// box's standing.
func (q *Queue) copyIn(ctx context.Context, id ID, c Copy, body io.Reader) error {
	in := &intake{q: q, id: id, copied: true, sum: sha256.New(), body: contextReader{ctx, body}}
	if _, err := in.accept(c.Item); err != nil {
		return err
	}
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if e := q.entries[id]; e != nil {
			q.announce(e)
		}
	}()
	return q.Merge(c.Item.Key, c.Item.Digest, c.Standing)
}

// clashed is why both of two are held.
const clashed = "the two boxes of the pair accepted different contents under the same identity"

// clashKey begins the Key of the other content of a clash.
const clashKey = "pair:"

// clash keeps the other box's content beside this one's. The claim is on the Key; the
// copy has one of its own, by its content, so that it comes again as the same.
func (q *Queue) clash(ctx context.Context, have Brief, c Copy, body io.Reader) (*Conflict, error) {
	conflict := &Conflict{ID: have.ID, Have: have.Digest, Sent: c.Item.Digest}
	if have.State == Waiting {
		if err := q.Hold(have.ID, clashed); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte(c.Item.Key))
	c.Item.Key = fmt.Sprintf("%s%x:%v", clashKey, sum, c.Item.Digest)
	if c.Standing.State != Delivered {
		c.Item.Held, c.Standing = clashed, Standing{State: Held, At: c.Standing.At, Why: clashed}
	}
	return conflict, q.copyIn(ctx, q.blind("key", c.Item.Key), c, body)
}

// Merge takes over what the other box says of an item, if it is later than what is
// known here. ErrUnknown: the item, with that content, is not here. ErrState: it is
// being changed, or sent; say it again.
func (q *Queue) Merge(key string, d Digest, s Standing) error {
	if err := s.check(); err != nil {
		return err
	}
	known, ok := q.named(key, d)
	switch {
	case !ok:
		return fmt.Errorf("%w: %x", ErrUnknown, d[:6])
	case !s.Later(known.standing()):
		return nil
	case known.busy || known.State == Delivering && s.State != Delivered:
		return fmt.Errorf("%w: item %v is %v", ErrState, known.ID, known.State)
	}
	m := markAt{copied: true, mark: mark{State: s.State, At: s.At, Where: s.Where, Why: s.Why, Released: s.Released, Rev: s.Rev}}
	if err := q.change(known.ID, known.State, m, true); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[known.ID]; e != nil && known.State == Held {
		q.announce(e)
	}
	return nil
}
