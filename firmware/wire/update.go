package wire

import "time"

// Update is update.json: what release the box runs, wants and is getting.
type Update struct {
	Header
	State   string    `json:"state"`
	Why     string    `json:"why,omitempty"`    // of the state, one clause
	Wanted  string    `json:"wanted,omitempty"` // version its ring is to run
	Done    int64     `json:"done,omitempty"`   // bytes of the image in place
	Of      int64     `json:"of,omitempty"`
	Fetched int64     `json:"fetched,omitempty"` // bytes that came over the wire for it
	Asked   time.Time `json:"asked,omitzero"`    // when the depot last answered
	Ring    string    `json:"ring"`
}

// States of an update.
const (
	UpdateIdle     = "idle"     // nothing is wanted, or nobody is asked
	UpdateFetching = "fetching" // the image is on its way into the other slot
	UpdateWaiting  = "waiting"  // it is there; the box can't restart yet
	UpdateArmed    = "armed"    // the box restarts into it
	UpdateProving  = "proving"  // this start is its trial
)
