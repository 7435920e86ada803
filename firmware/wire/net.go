package wire

import "time"

// Net is netd.json: links, uplinks and tunnels.
type Net struct {
	Header
	LAN     LAN      `json:"lan"`
	Uplinks []Uplink `json:"uplinks"`
	Active  string   `json:"active,omitempty"` // uplink that new flows take; empty: none usable
	Tunnels []Tunnel `json:"tunnels"`
	DNS     *DNS     `json:"dns,omitempty"`
	Time    *Time    `json:"time,omitempty"`
	DHCP    []DHCP   `json:"dhcp,omitempty"` // zones whose devices get addresses
}

// LAN is the clinic side of the box.
type LAN struct {
	Port    string `json:"port"`
	Carrier bool   `json:"carrier"`
	Address string `json:"address"` // this box's own, CIDR
}

// Uplink states.
const (
	UplinkUp        = "up"
	UplinkDegraded  = "degraded"  // usable, but lossy or slow
	UplinkDown      = "down"      // addressed, but nothing comes back through it
	UplinkCaptive   = "captive"   // a sign-in page answers instead of the internet
	UplinkNoAddress = "noaddress" // link up, no lease or address yet
	UplinkNoLink    = "nolink"    // no carrier or no such port
)

// Uplink is one ISP.
type Uplink struct {
	Name    string    `json:"name"`
	Port    string    `json:"port"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"` // one sentence
	Since   time.Time `json:"since"`
	Address string    `json:"address,omitempty"` // CIDR
	Gateway string    `json:"gateway,omitempty"`
	RTTMS   float64   `json:"rtt_ms"`   // smoothed; 0 while unknown
	LossPct float64   `json:"loss_pct"` // over the probe window
	RxBytes uint64    `json:"rx_bytes"`
	TxBytes uint64    `json:"tx_bytes"`
	UplinkUse
	IPv6 *UplinkIPv6 `json:"ipv6,omitempty"` // absent: switched off
}

// UplinkIPv6 is an uplink's IPv6.
type UplinkIPv6 struct {
	Usable    bool     `json:"usable"` // new flows may take it
	Reason    string   `json:"reason"` // one sentence
	Addresses []string `json:"addresses,omitempty"`
	Gateway   string   `json:"gateway,omitempty"`
	Prefix    string   `json:"prefix,omitempty"` // the clinic's by this provider
}

// Tunnel states.
const (
	TunnelUp      = "up"      // the hub answers inside it, or has within the last 3 minutes where nobody is asked
	TunnelDown    = "down"    // configured, no answer from the hub
	TunnelStandby = "standby" // the pair's other box runs it
)

// Tunnel is a WireGuard peer at a hub.
type Tunnel struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	Device    string    `json:"device"`
	Address   string    `json:"address"`
	Endpoint  string    `json:"endpoint"`
	Via       string    `json:"via,omitempty"` // uplink by which the hub was heard last
	Handshake time.Time `json:"handshake,omitzero"`
	Called    time.Time `json:"called,omitzero"` // a hub was last called by this box, with this time or an earlier one
	RTTMS     float64   `json:"rtt_ms"`          // to the hub and back inside; 0 while unknown
	RxBytes   uint64    `json:"rx_bytes"`
	TxBytes   uint64    `json:"tx_bytes"`

	Policy  string       `json:"policy,omitempty"`
	MTU     int          `json:"mtu,omitempty"`     // of its device
	Doubled uint64       `json:"doubled,omitempty"` // bytes of copies that came when their datagram had come already
	Hubs    []TunnelHub  `json:"hubs,omitempty"`    // in order of preference
	Paths   []TunnelPath `json:"paths,omitempty"`   // by uplink
}

// TunnelHub is one of the hubs that a tunnel may lead to.
type TunnelHub struct {
	Endpoint  string    `json:"endpoint"`
	InUse     bool      `json:"in_use"`
	Handshake time.Time `json:"handshake,omitzero"` // the last
}

// What a tunnel sends by a path.
const (
	PathAll   = "all"   // a copy of every datagram
	PathSmall = "small" // of small ones only
	PathShare = "share" // a part
	PathIdle  = "idle"  // nothing
)

// TunnelPath is one uplink as a tunnel uses it.
type TunnelPath struct {
	Uplink    string    `json:"uplink"`
	Sends     string    `json:"sends"`
	Copies    int       `json:"copies"` // of a small datagram
	RTTMS     float64   `json:"rtt_ms"` // of the fan's answers, or of the uplink's probes; 0 while unknown
	LossPct   float64   `json:"loss_pct"`
	TxBPS     float64   `json:"tx_bps"`
	RxBPS     float64   `json:"rx_bps"`
	Datagrams uint64    `json:"datagrams"` // sent
	TxBytes   uint64    `json:"tx_bytes"`
	RxBytes   uint64    `json:"rx_bytes"`
	Heard     time.Time `json:"heard,omitzero"` // the hub, by this path
}
