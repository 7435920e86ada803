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
	Since    time.Time `json:"since"`
	LastExit string    `json:"last_exit,omitempty"` // "exit status 2", "signal: killed"
	RSS      int64     `json:"rss"`                 // resident bytes; 0 when not running
}
