// Package advert says what a router tells a link in its advertisements (RFC 4861,
// §4.2), bounded: however long a message was, an Advert is small.
package advert

import (
	"net/netip"
	"time"
)

// ServerLife is how long hosts may ask the name servers of an advertisement: longer
// than they need to hear the next few (RFC 8106, §5.1).
const ServerLife = 10 * time.Minute

// Bounds of what is taken from one message or put into one.
const (
	MaxPrefixes = 8
	MaxServers  = 3
)

// An Advert is one router advertisement.
type Advert struct {
	Lifetime time.Duration // as a default router; 0: it is none
	Prefer   int           // 1 high, 0 medium, -1 low (RFC 4191)
	Managed  bool          // addresses by DHCPv6
	Other    bool          // the rest by DHCPv6
	MTU      int           // of the link, 0: not said
	Prefixes []Prefix
	DNS      []netip.Addr // name servers
	Gone     []netip.Addr // those of before that are none any more
}

// A Prefix is one prefix information option.
type Prefix struct {
	Prefix    netip.Prefix
	OnLink    bool // its addresses are on the link
	Auto      bool // hosts may make themselves an address in it
	Preferred time.Duration
	Valid     time.Duration
}
