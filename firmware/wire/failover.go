package wire

import "time"

// Failover is failoverd.json: which box of the pair owns the clinic's addresses.
type Failover struct {
	Header
	Groups []Group     `json:"groups"`
	Flows  *Flows      `json:"flows,omitempty"`  // absent: connections are not passed on
	Tunnel *PairTunnel `json:"tunnel,omitempty"` // absent: there is no [pair]
	Flaws  []Flaw      `json:"flaws,omitempty"`  // what makes this box the worse gateway
	Cable  *Cable      `json:"cable,omitempty"`  // absent: no second heartbeat
}

// PairTunnel says which box runs the site's identity at the hub.
type PairTunnel struct {
	Run   bool      `json:"run"`            // this box does
	Floor time.Time `json:"floor,omitzero"` // a call to the hub by either box had this time; the next must have a later one
	// By how much the other box's clock is ahead of this one's.
	PeerAheadMS int64 `json:"peer_ahead_ms,omitempty"`
}

// Cable is the second heartbeat: what the other box says over the cable.
type Cable struct {
	Alive   bool      `json:"alive"`
	Since   time.Time `json:"since"`             // of Alive's present value
	Refused uint64    `json:"refused,omitempty"` // since the start: beats that were not the other box's
	Other   []Other   `json:"other,omitempty"`   // what it said last, by group
}

// Other is the other box's part in a group, in its own words.
type Other struct {
	Group    string `json:"group"`
	Role     string `json:"role"`
	Priority int    `json:"priority"`
	Address  string `json:"address,omitempty"` // its own, where it advertises from
}

// Flaw is one reason why this box is a worse gateway than a healthy one.
type Flaw struct {
	Name     string `json:"name"`     // "net", "uplinks", "sync", "disk", "heat"
	Handicap int    `json:"handicap"` // taken off every group's priority
	Why      string `json:"why"`      // one clause
}

// Roles of a group.
const (
	RoleInit   = "init" // not taking part: no link, or faulty configuration
	RoleBackup = "backup"
	RoleMaster = "master"
)

// Group is one VRRP virtual router.
type Group struct {
	Name      string    `json:"name"`
	VRID      int       `json:"vrid"`
	Port      string    `json:"port"`
	Role      string    `json:"role"`
	Reason    string    `json:"reason"` // why this role, one sentence
	Since     time.Time `json:"since"`
	Priority  int       `json:"priority"`  // advertised: the configured one less the flaws' handicaps
	Basis     int       `json:"basis"`     // the configured priority
	Addresses []string  `json:"addresses"` // virtual, CIDR
	Peer      string    `json:"peer,omitempty"`
	PeerSeen  time.Time `json:"peer_seen,omitzero"`
}

// Flows is the copy of the clinic's connections that the other box keeps.
type Flows struct {
	Peer     string `json:"peer"`               // the other box, address and port
	Telling  bool   `json:"telling"`            // this box reaches the other
	Told     bool   `json:"told"`               // the other box reaches this one
	Sent     int    `json:"sent"`               // connections of this box that the other has
	Held     int    `json:"held"`               // connections of the other that this box has
	LagMS    int64  `json:"lag_ms"`             // until the other box had everything, lately
	Refused  uint64 `json:"refused,omitempty"`  // since the start: not wanted by the kernel
	Dropped  uint64 `json:"dropped,omitempty"`  // since the start: for want of room
	Overruns uint64 `json:"overruns,omitempty"` // since the start: listed anew, the kernel was faster
}

// Standby reports whether this box leaves all of the clinic's addresses to another
// one. One that takes no part, or says nothing, does not: nobody serves instead.
func (f *Failover) Standby() bool {
	if f == nil {
		return false
	}
	backup := false
	for _, g := range f.Groups {
		if g.Role == RoleMaster {
			return false
		}
		backup = backup || g.Role == RoleBackup
	}
	return backup
}
