package ledger

import "clinicgate/failoverd/flowsync/flow"

// Rounds sets a ledger right. Changes come one by one, but some are missed and most are never told:
// the kernel says nothing when a packet puts off a flow's end. So all flows are
// listed now and then, between Begin and End, and the ledger is set right by that.
type Rounds struct {
	*Ledger
	round uint32
}

// Begin starts a round.
func (r *Rounds) Begin() { r.round++ }

// See marks a flow as seen in this round, if it is known.
func (r *Rounds) See(k flow.Key) {
	if e, ok := r.entries[k]; ok {
		e.round = r.round
	}
}

// End returns the flows that were not seen in this round and forgets them.
func (r *Rounds) End() (gone []flow.Key) {
	for k, e := range r.entries {
		if e.round != r.round {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		r.Del(k)
	}
	return gone
}
