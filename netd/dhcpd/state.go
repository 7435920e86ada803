package dhcpd

import (
	"fmt"

	"clinicgate/firmware/wire"
)

// IDs lists every fault this package can state.
func IDs() []string {
	return []string{"dhcp.down", "dhcp.store", "dhcp.exhausted", "dhcp.other-server", "dhcp.taken"}
}

// State returns what the wire file says, and what is wrong.
func (s *Server) State() (wire.DHCP, []wire.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	used, size := s.table.Counts(now)
	w := wire.DHCP{Zone: s.zone.Zone, Answers: s.table.Answers() && s.open, Pool: size, Used: used, Leases: len(s.table.All())}
	var faults []wire.Fault
	add := func(id string, sev wire.Severity, where, what, do string) {
		faults = append(faults, wire.Fault{ID: id, Severity: sev, Where: where, What: what, Do: do})
	}
	if s.broken != "" {
		add("dhcp.down", wire.Alarm, "port "+s.zone.Port, "devices get no addresses: "+s.broken, "see the faults of the port; if there are none, send this line to support")
	}
	if s.unsaved != "" {
		add("dhcp.store", wire.Warning, "zone "+s.zone.Zone, "addresses that were given would be forgotten by a restart: "+s.unsaved, "see how full the data partition is")
	}
	if s.table.Exhausted(now) {
		add("dhcp.exhausted", wire.Alarm, "zone "+s.zone.Zone, fmt.Sprintf("a device got no address: %d of %d are in use", used, size),
			"make the zone's pool in the site file (net.dhcp) larger; look for devices that should not be there (gatectl net leases)")
	}
	if other := s.table.OtherServer(now); other.IsValid() {
		add("dhcp.other-server", wire.Alarm, "port "+s.zone.Port, fmt.Sprintf("a device took its address from another DHCP server, %s", other),
			"find the device with that address and switch off its DHCP server; often it is a Wi-Fi router")
	}
	for _, r := range s.table.Taken(now) {
		add("dhcp.taken", wire.Alarm, "net.dhcp.reservation "+r.Name, fmt.Sprintf("%s is reserved for %s and another device uses it", r.Address, r.MAC),
			"find the device with that address, often one with a fixed address, and give it another")
	}
	return w, faults
}
