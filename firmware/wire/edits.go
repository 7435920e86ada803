package wire

import "time"

// What syncd answers on its control socket about changes of records. Nothing in it
// names a patient, and nothing of what was written is in it.

// EditList is GET /edits, and GET /edits/clashes.
type EditList struct {
	V     int    `json:"v"` // 1
	Items []Edit `json:"items"`
}

// Edit is what one request changed.
type Edit struct {
	ID     string    `json:"id"`
	State  string    `json:"state"` // "waiting", "sent" (the EHR's word is not known), "clashed"
	When   time.Time `json:"when"`
	By     string    `json:"by"`     // FHIR reference of the author
	Types  []string  `json:"types"`  // of what was changed, in its order
	Tries  int       `json:"tries"`  // times it was sent
	Status int       `json:"status"` // of a clash: what the EHR answered; 0: what it builds on was refused
	Task   string    `json:"task,omitempty"`
}
