package wire

import "time"

// Keys answers GET /keys on syncd's control socket: what stored data is sealed with.
type Keys struct {
	V       int       `json:"v"`                 // 1
	By      string    `json:"by"`                // "tpm" or "software: REASON"
	Wrap    string    `json:"wrap"`              // SHA-256 of the key that deeds are sealed to, in hex
	Trustee string    `json:"trustee,omitempty"` // the third party's address; absent: the keys are the box's own
	Asked   time.Time `json:"asked,omitzero"`    // the third party last answered well
	Why     string    `json:"why,omitempty"`     // it does not now
	Domains []Domain  `json:"domains"`
}

// Domain is data under one key and one access list.
type Domain struct {
	Name  string    `json:"name"`
	Use   int       `json:"use"` // number of the key that seals; 0: the box's own
	Own   bool      `json:"own"` // what was sealed with the box's own key still opens
	May   string    `json:"may"` // "write" or "read"
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why,omitempty"` // it is locked
}
