package upstream

import (
	"net/netip"

	"clinicgate/firmware/wire"
)

// Path judges from netd.json whether the EHR's host can be reached at all, and
// if not, says why. Without word from netd it can: then only trying tells.
// A private address is behind the tunnels, so it needs one of them.
func Path(n *wire.Net, host string) (reason string, ok bool) {
	if n == nil || len(n.Uplinks) == 0 {
		return "", true
	}
	if n.Active == "" {
		return "no internet provider is usable", false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.IsPrivate() || len(n.Tunnels) == 0 {
		return "", true
	}
	for _, t := range n.Tunnels {
		if t.State != wire.TunnelDown && t.State != wire.TunnelStandby {
			return "", true
		}
	}
	return "no tunnel to the hub is up", false
}
