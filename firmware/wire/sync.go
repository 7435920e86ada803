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
	Keys         string        `json:"keys"` // "tpm" or "software: REASON"
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
