package wire

import "time"

// What syncd answers on its control socket about the queue of uploads. Nothing in
// it names a patient.

// HeldUploads is GET /queue/held.
type HeldUploads struct {
	V     int          `json:"v"` // 1
	Items []HeldUpload `json:"items"`
}

// HeldUpload is one that waits for a person.
type HeldUpload struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Origin   string    `json:"origin"`
	Lane     string    `json:"lane"`
	Bytes    int64     `json:"bytes"`
	Accepted time.Time `json:"accepted"`
	Held     time.Time `json:"held"`
	Where    string    `json:"where,omitempty"`
	Why      string    `json:"why"`
}

// ReleasedUpload is POST /queue/ID/release.
type ReleasedUpload struct {
	V  int    `json:"v"` // 1
	ID string `json:"id"`
}

// VerifiedQueue is POST /queue/verify: what was read and what is wrong with it.
type VerifiedQueue struct {
	V         int            `json:"v"` // 1
	Invariant string         `json:"invariant"`
	Items     map[string]int `json:"items"` // by state
	Bytes     int64          `json:"bytes"`
	Segments  int            `json:"segments"`
	Problems  []string       `json:"problems"`
}
