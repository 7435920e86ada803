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
