package wire

import "time"

// DHCP is how the devices of one zone get their addresses.
type DHCP struct {
	Zone    string `json:"zone"`
	Answers bool   `json:"answers"` // false: the pair's other box does, or nobody can
	Pool    int    `json:"pool"`    // addresses
	Used    int    `json:"used"`    // of them
	Leases  int    `json:"leases"`  // remembered, reserved and past ones too
}

// Lease is one device's address, as netd's control socket tells it.
type Lease struct {
	Zone    string    `json:"zone"`
	Address string    `json:"address"`
	MAC     string    `json:"mac"`
	Name    string    `json:"name,omitempty"` // of its reservation
	Says    string    `json:"says,omitempty"` // what the device calls itself, unproven
	Until   time.Time `json:"until"`
	Live    bool      `json:"live"` // false: it is over, and kept for the device
}

// DNS is the resolver of the clinic's devices.
type DNS struct {
	Answers bool         `json:"answers"`
	Names   int          `json:"names"`   // answers that are remembered
	Bytes   int          `json:"bytes"`   // of them
	Hits    uint64       `json:"hits"`    // since the start: answered from them
	Asked   uint64       `json:"asked"`   // ... by others
	Local   uint64       `json:"local"`   // ... with the clinic's own names
	Stale   uint64       `json:"stale"`   // ... with old answers, as nobody could be asked
	Refused uint64       `json:"refused"` // answers that led into the clinic
	Limited uint64       `json:"limited"` // questions of devices that ask too often
	Servers []NameServer `json:"servers"`
}

// NameServer is one that is asked, by one uplink.
type NameServer struct {
	Address  string  `json:"address"`
	Via      string  `json:"via,omitempty"` // uplink; empty: as the routing table says
	Answers  uint64  `json:"answers"`
	Failures uint64  `json:"failures"`
	InRow    int     `json:"in_row"` // failures since the last answer
	RTTMS    float64 `json:"rtt_ms"` // smoothed; 0 while unknown
}

// Time is the box's clock, and what it tells the clinic's devices.
type Time struct {
	Answers bool         `json:"answers"`
	Known   bool         `json:"known"` // false: devices are told that it is not
	Stratum int          `json:"stratum,omitempty"`
	ErrorMS float64      `json:"error_ms,omitempty"` // at most
	Checked time.Time    `json:"checked,omitzero"`
	Served  uint64       `json:"served"` // answers since the start
	Sources []TimeSource `json:"sources"`
}

// TimeSource is one time server.
type TimeSource struct {
	Name     string  `json:"name"` // in the site file
	Address  string  `json:"address"`
	Stratum  int     `json:"stratum,omitempty"`
	OffsetMS float64 `json:"offset_ms"` // of its clock from the box's
	ErrorMS  float64 `json:"error_ms"`
	Reach    int     `json:"reach"` // of the last eight questions, a bit for each answered
	Believed bool    `json:"believed"`
	Why      string  `json:"why,omitempty"` // there was no answer, or none worth having
}
