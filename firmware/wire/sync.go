package wire

import "time"

// Sync is syncd.json: queue, cache and the partners they talk to.
type Sync struct {
	Header
	Lanes        []Lane        `json:"lanes"`
	Held         int           `json:"held"` // quarantined items, waiting for a person
	Destinations []Destination `json:"destinations"`
	Cache        Cache         `json:"cache"`
	Disk         Disk          `json:"disk"`
	Keys         string        `json:"keys"`             // "tpm" or "software: REASON"
	Audit        *Audit        `json:"audit,omitempty"`  // absent: the trail of accesses stays here
	Mirror       *Mirror       `json:"mirror,omitempty"` // absent: there is no other box
	Edits        *Edits        `json:"edits,omitempty"`  // absent: nothing waits and nothing clashes
}

// Edits are changes of records that the EHR has not taken.
type Edits struct {
	Waiting int       `json:"waiting"` // on their way
	Oldest  time.Time `json:"oldest,omitzero"`
	Clashes int       `json:"clashes"` // refused by the EHR; each has a Task that a doctor must close
}

// Mirror is how the pair's other box keeps up with this one's uploads.
type Mirror struct {
	Peer     string    `json:"peer"`  // the other box, address and port
	Alive    bool      `json:"alive"` // it is told
	Since    time.Time `json:"since"` // of Alive's present value
	Reason   string    `json:"reason,omitempty"`
	Delivers bool      `json:"delivers"`          // this box brings uploads to their destinations
	Behind   int       `json:"behind"`            // uploads that the other box lacks, or knows less of
	Oldest   time.Time `json:"oldest,omitzero"`   // since when
	LagMS    int64     `json:"lag_ms"`            // until the other box had an upload, lately
	Alone    uint64    `json:"alone,omitempty"`   // since the start: acknowledged without the other box
	Refuses  bool      `json:"refuses,omitempty"` // without it nothing is acknowledged
}

// QueuePair answers GET /queue/pair on syncd's control socket.
type QueuePair struct {
	V      int     `json:"v"`
	Mirror *Mirror `json:"mirror"` // null: there is no other box
}

// Lane is one priority class of the upload queue.
type Lane struct {
	Name      string    `json:"name"` // "stat", "routine", "bulk"
	Waiting   int       `json:"waiting"`
	Bytes     int64     `json:"bytes"`
	Oldest    time.Time `json:"oldest,omitzero"`
	Delivered uint64    `json:"delivered"` // since the store was made
}

// Destination is a partner outside the clinic.
type Destination struct {
	Name   string    `json:"name"`
	Kind   string    `json:"kind"`  // "fhir", "stow"
	State  string    `json:"state"` // "ok", "unreachable", "refusing", "unknown"
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Cache describes the record cache.
type Cache struct {
	Resources   int       `json:"resources"`
	Bytes       int64     `json:"bytes"`
	LastContact time.Time `json:"last_contact,omitzero"` // last good answer of the EHR
}

// Disk is the data partition as syncd sees it.
type Disk struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
}
