package census

import "time"

// Other is the other box, as it said last.
type Other struct {
	Alive  bool // it is heard
	Flight int  // attempts it has under way
}

// patience is how long a box that has become master waits for the other one's
// attempts to end. They are told to end at once; after this they hang, and the
// destination is asked before anything is sent in any case.
const patience = 15 * time.Second

// Delivers reports whether this box brings items to their destinations. The master
// alone does; since is when this box became it. A box that stands by delivers
// nothing, not even what it alone has: it has no way out, and tells the master as
// soon as it can.
func Delivers(now, since time.Time, standby bool, o Other) bool {
	switch {
	case standby:
		return false
	case o.Alive && o.Flight > 0 && now.Sub(since) < patience:
		return false
	}
	return true
}
