package wire

import "time"

// Failover is failoverd.json: which box of the pair owns the clinic's addresses.
type Failover struct {
	Header
	Groups []Group `json:"groups"`
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
	Priority  int       `json:"priority"`
	Addresses []string  `json:"addresses"` // virtual, CIDR
	Peer      string    `json:"peer,omitempty"`
	PeerSeen  time.Time `json:"peer_seen,omitzero"`
}
