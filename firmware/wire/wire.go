// Package wire holds what the daemons publish to each other: one JSON file per
// daemon in the run directory, replaced whole. The types here are the only
// contract between programs; testdata has a golden example of each.
//
// Rules for every type: a reader ignores fields it does not know, a writer never
// changes the meaning or unit of a field (it adds another), durations are
// milliseconds in fields ending in MS, sizes are bytes, times are RFC 3339 UTC.
// Nothing in a wire file names or describes a patient.
package wire

import "time"

// Version is the format generation of every wire file. A consumer that meets a
// higher one reads what it knows and says so in its log.
const Version = 1

// File names in the run directory. The producer is the program of the same name.
const (
	InitFile     = "init.json"
	NetFile      = "netd.json"
	FailoverFile = "failoverd.json"
	CardFile     = "cardauth.json"
	SyncFile     = "syncd.json"
	UpdateFile   = "update.json"
	PanelFile    = "panel.json"
)

// Header opens every wire file.
type Header struct {
	V         int       `json:"v"`         // Version of the writer
	Program   string    `json:"program"`   // who wrote the file
	Release   string    `json:"release"`   // software release of the writer
	Published time.Time `json:"published"` // when the content last changed
	PID       int       `json:"pid"`
	Faults    []Fault   `json:"faults,omitempty"` // what is wrong now, worst first
}

// Severity orders faults for people: an alarm needs someone today, a warning is
// worth knowing, a note explains a state that is as it should be.
type Severity string

// The severities, worst first.
const (
	Alarm   Severity = "alarm"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Fault is one thing that is wrong now, in words a technician can act on. The
// same ID and Where mean the same fault: it keeps its Since.
type Fault struct {
	ID       string    `json:"id"` // stable, dotted: "uplink.no-link"
	Severity Severity  `json:"severity"`
	Where    string    `json:"where"` // "port wan1", "site.toml:14: net.uplink[1].address"
	What     string    `json:"what"`  // what was found, with got and want
	Do       string    `json:"do"`    // what to do about it
	Since    time.Time `json:"since"`
}

// Head gives publishers the header to fill in.
func (h *Header) Head() *Header { return h }
