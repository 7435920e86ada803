package ledger

import (
	"time"

	"clinicgate/failoverd/flowsync/flow"
)

// Every is how often all flows are to be listed.
const Every = 30 * time.Second

// The other box's copy of a flow ends by itself unless it is told again. It is
// given time for three listings, and told again when one listing more might come
// too late.
const (
	least = uint32(3 * Every / time.Second)
	renew = int64(2 * Every / time.Second)
)

// Told is what the other box was told. Its answers are the messages that bring
// the other box up to date.
type Told struct {
	Rounds
	Dropped uint64 // flows that found no room, or were pushed out
}

// NewTold returns one that has told nothing, for at most max flows.
func NewTold(max int) *Told { return &Told{Rounds: Rounds{Ledger: New(max)}} }

// Seen is a flow as the kernel has it now.
func (t *Told) Seen(f flow.Flow, now time.Time) []flow.Message {
	if !f.Worth() {
		return t.Gone(f.Key)
	}
	f.Timeout = max(f.Timeout, least)
	until := now.Unix() + int64(f.Timeout)
	if e, ok := t.entries[f.Key]; ok {
		e.round = t.round
		old := e.flow
		old.Timeout = f.Timeout
		lapses := e.until-now.Unix() < renew && until > e.until
		if old == f && !lapses {
			return nil
		}
	}
	out, full, ok := t.Put(f)
	if !ok {
		t.Dropped++
		return nil
	}
	e := t.entries[f.Key]
	e.until, e.round = until, t.round
	put := flow.Message{Kind: flow.Put, Flow: f}
	if full {
		t.Dropped++
		return []flow.Message{del(out), put}
	}
	return []flow.Message{put}
}

// Gone is a flow that the kernel has ended.
func (t *Told) Gone(k flow.Key) []flow.Message {
	if !t.Del(k) {
		return nil
	}
	return []flow.Message{del(k)}
}

// Missing ends a listing: what the other box was told and is no more.
func (t *Told) Missing() (all []flow.Message) {
	for _, k := range t.End() {
		all = append(all, del(k))
	}
	return all
}

func del(k flow.Key) flow.Message {
	return flow.Message{Kind: flow.Del, Flow: flow.Flow{Key: k}}
}
