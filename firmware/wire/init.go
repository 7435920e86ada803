package wire

import "time"

// Init is init.json: what runs on the box and how it came up.
type Init struct {
	Header
	Board      string    `json:"board"`
	Kernel     string    `json:"kernel"`
	BootReason string    `json:"boot_reason"` // "power-on", "watchdog", "reboot", "unknown"
	Slot       string    `json:"slot,omitempty"`
	Booted     time.Time `json:"booted"`
	ReadyMS    int64     `json:"ready_ms,omitempty"` // kernel start to all services ready; 0 until then
	Watchdog   string    `json:"watchdog"`           // driver fed, or "none: REASON"
	Services   []Service `json:"services"`
	Slots      *Slots    `json:"slots,omitempty"`
	SecureBoot string    `json:"secure_boot,omitempty"` // "on": the firmware started only what is signed; "off"; empty: no firmware that tells
	Lamp       string    `json:"lamp,omitempty"`        // what the light at the front says; empty: there is none
	Attest     string    `json:"attest,omitempty"`      // fingerprint of the TPM's key for quotes, or "none: REASON"; empty: not known yet
	Lockdown   string    `json:"lockdown,omitempty"`    // what the kernel denies even to root: "none", "integrity", "confidentiality"
}

// Slots is what the box can start from.
type Slots struct {
	Good      string           `json:"good"`            // "a" or "b": committed
	Trial     *Trial           `json:"trial,omitempty"` // under way
	Refused   []RefusedRelease `json:"refused,omitempty"`
	Last      string           `json:"last,omitempty"`       // how the last trial ended
	NoUpdates string           `json:"no_updates,omitempty"` // why this box can't be updated now
}

// Trial is a release that has to prove itself.
type Trial struct {
	Slot    string `json:"slot"`
	Version string `json:"version"`
	Starts  int    `json:"starts"`  // asked for so far
	Tunnel  bool   `json:"tunnel"`  // the tunnel was up before it
	Running bool   `json:"running"` // this start is the trial
}

// RefusedRelease failed on this box and is not taken again.
type RefusedRelease struct {
	Version string    `json:"version"`
	Why     string    `json:"why"`
	When    time.Time `json:"when"`
}

// Service states.
const (
	ServiceStarting = "starting" // running, has not said ready
	ServiceReady    = "ready"
	ServiceBackoff  = "backoff" // died, waits before the next start
	ServiceStopped  = "stopped"
)

// Service is one supervised program.
type Service struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts"`
	Crashes  int       `json:"crashes,omitempty"` // those of the restarts that nobody asked for
	Since    time.Time `json:"since"`
	LastExit string    `json:"last_exit,omitempty"` // "exit status 2", "signal: killed"
	RSS      int64     `json:"rss"`                 // resident bytes; 0 when not running
}
