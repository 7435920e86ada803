package wire

import "time"

// UplinkUse is what an uplink is used for and what was measured of it. Fields that
// are zero are unknown, or none.
type UplinkUse struct {
	Role   string `json:"role,omitempty"`      // in force: primary, shared, last-resort
	Share  int    `json:"share_pct,omitempty"` // of new flows of no particular class
	Portal string `json:"portal,omitempty"`    // host of the sign-in page
	// Of the way to the STAMP reflector, and back.
	JitterOutMS float64 `json:"jitter_out_ms,omitempty"`
	JitterInMS  float64 `json:"jitter_in_ms,omitempty"`
	LossOutPct  float64 `json:"loss_out_pct,omitempty"` // of what is sent, as the reflector counts
	LossInPct   float64 `json:"loss_in_pct,omitempty"`  // of what comes back
	RxBPS       float64 `json:"rx_bps,omitempty"`       // bits a second, lately
	TxBPS       float64 `json:"tx_bps,omitempty"`
	LineUp      int64   `json:"line_up_bps,omitempty"` // what it carries, as the site file says
	LineDown    int64   `json:"line_down_bps,omitempty"`
	Metered     bool    `json:"metered,omitempty"` // each byte costs
	Month       *Month  `json:"month,omitempty"`
}

// Month is what went through an uplink in its current month, both directions.
type Month struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // counting begins anew
	Bytes uint64    `json:"bytes"`
	Cap   uint64    `json:"cap,omitempty"`
	Cost  float64   `json:"cost,omitempty"`
}

// FlowWay answers which way a new flow takes: GET /why on netd's control socket.
type FlowWay struct {
	Src     string       `json:"src"`
	Dst     string       `json:"dst"`
	Proto   string       `json:"proto,omitempty"`
	Port    uint16       `json:"port,omitempty"`
	DSCP    int          `json:"dscp"`
	Class   string       `json:"class,omitempty"` // empty: of no class, as it is not from the clinic
	Match   string       `json:"match,omitempty"` // what made it of that class
	Kind    string       `json:"kind"`            // one of the kinds below
	Name    string       `json:"name,omitempty"`  // of the zone or tunnel
	Uplinks []UplinkPart `json:"uplinks,omitempty"`
	Why     []string     `json:"why"` // step by step, in words
	Mark    string       `json:"mark"`
	Rule    int          `json:"rule"` // priority of the routing rule that decides
	Table   int          `json:"table"`
	Route   string       `json:"route"`
	Device  string       `json:"device"`           // the kernel's own answer, or why it has none
	Agrees  bool         `json:"agrees"`           // the kernel's answer is among Uplinks, or is Route's device
	Others  []string     `json:"others,omitempty"` // why each other uplink is not taken
}

// Kinds of ways.
const (
	WayZone    = "zone"    // in the clinic
	WayTunnel  = "tunnel"  // to the hub
	WayUplink  = "uplink"  // through one of Uplinks
	WayRefused = "refused" // an ICMP message says so
	WayNone    = "none"    // no route at all
)

// UplinkPart is an uplink and its part of such flows.
type UplinkPart struct {
	Name    string `json:"name"`
	Device  string `json:"device"`
	Percent int    `json:"percent"`
}
