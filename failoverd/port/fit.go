package port

import (
	"fmt"
	"net/netip"
	"slices"

	"clinicgate/firmware/wire"
)

// Faults a port can have, by ID. At most one of them stands for a port.
const (
	NoPort    = "pair.no-port"
	NoLink    = "pair.no-link"
	NoAddress = "pair.no-address"
	OwnShared = "pair.address-is-own"
)

// Faults lists them, for a caller that clears what no longer stands.
var Faults = [...]string{NoPort, NoLink, NoAddress, OwnShared}

// Fit returns the port's own address in the network of the shared addresses, from
// which advertisements are sent. Where there is none, or the port can't reach the
// clinic's network, it says in a fault why this box must not have the addresses. An
// owner may have a shared address as its own.
func (p Port) Fit(shared []netip.Prefix, owner bool) (netip.Addr, *wire.Fault) {
	fault := &wire.Fault{Severity: wire.Alarm, Where: "port " + p.Name}
	self := p.self(shared)
	switch own, both := p.ownShared(shared); {
	case !p.There:
		fault.ID = NoPort
		fault.What = fmt.Sprintf("there is no port %s", p.Name)
		fault.Do = "check pair.group.port in the site file and that the network card is recognised"
	case !p.Carrier:
		fault.ID = NoLink
		fault.What = fmt.Sprintf("no link on %s", p.Name)
		fault.Do = fmt.Sprintf("check the cable between %s and the clinic's switch, and that the switch has power", p.Name)
	case both && !owner:
		fault.ID = OwnShared
		fault.What = fmt.Sprintf("%v is shared by the pair and also %s's own address", own, p.Name)
		fault.Do = "give the port another address of its own in the site file, or make this box the owner: pair.group.priority = 255"
	case !self.IsValid():
		fault.ID, fault.Severity = NoAddress, wire.Warning
		fault.What = fmt.Sprintf("%s has no address of its own in the network of %v", p.Name, shared[0])
		if len(p.Own) > 0 {
			fault.What += fmt.Sprintf(", only %v", p.Own)
		}
		if shared[0].Addr().Is6() {
			fault.What = fmt.Sprintf("%s has no link-local IPv6 address", p.Name)
			fault.Do = "wait some seconds; if it stays, IPv6 is switched off on the port"
			break
		}
		fault.Do = "check net.lan.address in the site file, and that netd runs"
	default:
		return self, nil
	}
	return netip.Addr{}, fault
}

// self for IPv6 is the port's link-local address (RFC 9568 §5.1.2.1).
func (p Port) self(shared []netip.Prefix) netip.Addr {
	for _, own := range p.Own {
		if shared[0].Addr().Is6() && own.Addr().IsLinkLocalUnicast() {
			return own.Addr()
		}
		if shared[0].Addr().Is4() && own.Contains(shared[0].Addr()) {
			return own.Addr()
		}
	}
	return netip.Addr{}
}

func (p Port) ownShared(shared []netip.Prefix) (netip.Addr, bool) {
	for _, own := range p.Own {
		same := func(s netip.Prefix) bool { return s.Addr() == own.Addr() }
		if slices.ContainsFunc(shared, same) {
			return own.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// Missing reports whether one of the shared addresses is not on the port: someone
// took it off.
func (p Port) Missing(shared []netip.Prefix) bool {
	return slices.ContainsFunc(shared, func(s netip.Prefix) bool { return !slices.Contains(p.Shared, s.Addr()) })
}
