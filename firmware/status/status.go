// Package status says how the box is: from what the programs published and the
// time it makes one verdict, one sentence, a screen of 80 columns and a diagnosis.
// What it writes is printable 7-bit ASCII, whatever the files contained.
package status

import (
	"clinicgate/firmware/ascii"
	"clinicgate/firmware/site"
	"clinicgate/firmware/wire"
)

// Presence says what became of a wire file.
type Presence string

// The presences.
const (
	Live       Presence = "live"
	Missing    Presence = "missing"    // never published since the box started
	Dead       Presence = "dead"       // its program does not run any more: the content is the past
	Unreadable Presence = "unreadable" // not for us, or not as it should be
)

// Seen is a wire file as it was found. V is not nil when Live or Dead.
type Seen[T any] struct {
	V        *T
	Presence Presence
	Why      string // of Dead and Unreadable, for people
}

// Box is everything there is to know.
type Box struct {
	Site    site.Identity
	SiteErr string // why Site is empty; "" when it is not
	Init    Seen[wire.Init]
	Net     Seen[wire.Net]
	Pair    Seen[wire.Failover]
	Card    Seen[wire.Card]
	Sync    Seen[wire.Sync]
	Update  Seen[wire.Update]
	Panel   Seen[wire.Panel] // the clinic's page; a box may be without
}

// Level is the verdict; its number is gatectl's exit code.
type Level int

// The levels.
const (
	OK       Level = iota
	Degraded       // the clinic works, something needs a look
	Failed         // a part of what the clinic relies on does not work
)

func (l Level) String() string { return [...]string{"ok", "degraded", "failed"}[l] }

// Finding is a fault and who says so: a program, or "gatectl" for what is found
// from outside.
type Finding struct {
	Program string `json:"program"`
	wire.Fault
	Stops bool `json:"stops"` // the clinic can't go on as usual with it
}

// Verdict is the state of the box in short.
type Verdict struct {
	Level    Level
	Sentence string
	Findings []Finding // worst first
}

// Judge makes the verdict.
func Judge(b Box) Verdict {
	v := Verdict{Findings: findings(b)}
	for _, f := range v.Findings {
		switch {
		case f.Stops:
			v.Level = Failed
		case f.Severity != wire.Note && v.Level == OK:
			v.Level = Degraded
		}
	}
	v.Sentence = ascii.Text(sentence(b, v))
	return v
}

// program is a producer of a wire file.
type program struct {
	name     string
	head     wire.Header
	presence Presence
	why      string
}

func programs(b Box) []program {
	return []program{
		{"init", head(b.Init.V), b.Init.Presence, b.Init.Why},
		{"netd", head(b.Net.V), b.Net.Presence, b.Net.Why},
		{"failoverd", head(b.Pair.V), b.Pair.Presence, b.Pair.Why},
		{"cardauth", head(b.Card.V), b.Card.Presence, b.Card.Why},
		{"syncd", head(b.Sync.V), b.Sync.Presence, b.Sync.Why},
	}
}

func head[T any, P interface {
	*T
	Head() *wire.Header
}](v P) wire.Header {
	if v == nil {
		return wire.Header{}
	}
	return *v.Head()
}
