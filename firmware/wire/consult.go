package wire

import "time"

// What syncd answers on its control socket about teleconsultations. Nothing in it
// names a patient; what was asked and answered is read with a card, as a record.

// Consults is GET /consults.
type Consults struct {
	V     int       `json:"v"` // 1
	Items []Consult `json:"items"`
}

// Consult is one case.
type Consult struct {
	Case    string    `json:"case"`
	State   string    `json:"state"` // waiting, held, sent, answered, declined, final
	Urgent  bool      `json:"urgent"`
	Began   time.Time `json:"began"`
	Changed time.Time `json:"changed"`
	Replies int       `json:"replies"`
}

// ConsultDetail is GET /consults/ID.
type ConsultDetail struct {
	V int `json:"v"` // 1
	Consult
	Request string         `json:"request"` // "ServiceRequest/1"
	Sent    []string       `json:"sent"`    // what went with it
	Back    []ConsultReply `json:"back"`
}

// ConsultReply is one resource that came back.
type ConsultReply struct {
	Resource string    `json:"resource"`
	Version  string    `json:"version,omitempty"`
	At       time.Time `json:"at"`
}
