package wire

import "time"

// Audit is how far the trail of accesses is delivered, in records; a record has the
// accesses that came together.
type Audit struct {
	To        string    `json:"to"`              // the destination
	Chain     string    `json:"chain,omitempty"` // names the trail there
	Records   uint64    `json:"records"`         // number of the newest
	Delivered uint64    `json:"delivered"`       // number of the newest that is there
	Oldest    time.Time `json:"oldest,omitzero"` // time of the oldest access that waits
	Reason    string    `json:"reason,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of the reason
}

// AuditTrail answers GET /audit on syncd's control socket.
type AuditTrail struct {
	V     int    `json:"v"`
	Audit *Audit `json:"audit"` // null: the trail stays here
}
