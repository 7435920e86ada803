package collect

import (
	"encoding/json"
	"time"

	"clinicgate/firmware/status"
)

// ObjectVersion is the generation of Object. Fields are added to it, never changed.
const ObjectVersion = 1

// Object is what `gatectl status --json` prints.
type Object struct {
	V        int                        `json:"v"`
	At       time.Time                  `json:"at"`
	Verdict  string                     `json:"verdict"` // "ok", "degraded", "failed": exit codes 0, 1, 2
	Sentence string                     `json:"sentence"`
	Programs map[string]Program         `json:"programs"`
	Findings []status.Finding           `json:"findings"` // worst first
	Files    map[string]json.RawMessage `json:"files"`    // the wire files as published; also a dead program's last
}

// Program says what became of the producer of a wire file.
type Program struct {
	Presence status.Presence `json:"presence"`
	Why      string          `json:"why,omitempty"`
}

// Object makes the object of a look.
func (l Look) Object() Object {
	v := status.Judge(l.Box)
	o := Object{
		V: ObjectVersion, At: l.At.UTC().Truncate(time.Millisecond), Verdict: v.Level.String(), Sentence: v.Sentence,
		Findings: v.Findings, Files: l.Files,
		Programs: map[string]Program{
			"init":      {l.Box.Init.Presence, l.Box.Init.Why},
			"netd":      {l.Box.Net.Presence, l.Box.Net.Why},
			"failoverd": {l.Box.Pair.Presence, l.Box.Pair.Why},
			"cardauth":  {l.Box.Card.Presence, l.Box.Card.Why},
			"syncd":     {l.Box.Sync.Presence, l.Box.Sync.Why},
		},
	}
	if o.Findings == nil {
		o.Findings = []status.Finding{}
	}
	return o
}
