package main

import (
	"net/netip"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/packet"
	"clinicgate/failoverd/vrrp"
)

// send sends one advertisement: in the checksum form the other box uses, or, as
// long as none was heard, in both, because each drops the other's.
func (g *group) send(priority uint8) error {
	m := advert.Message{VRID: g.cfg.VRID, Priority: priority, Interval: g.cfg.Interval, Addresses: g.hosts()}
	for _, form := range g.form {
		for _, to := range g.listeners() {
			msg, err := m.Append(nil, form, g.line.self, to)
			if err != nil {
				return err
			}
			if err := g.mouth().Send(to, msg); err != nil {
				return err
			}
			g.sent.Inc()
		}
	}
	return nil
}

// listeners is who our advertisements are for.
func (g *group) listeners() []netip.Addr {
	if g.cfg.Unicast {
		return g.cfg.Peers
	}
	return []netip.Addr{packet.Group(g.line.self)}
}

// mouth is the socket that advertises: that of the virtual hardware address once it
// is ours, so that switches learn where it is (RFC 9568 §7.2). Before the addresses
// are claimed no switch must lead the clinic's frames here.
func (g *group) mouth() *packet.Conn {
	if g.line.seat.virtual() && g.router.Status().State == vrrp.Active && g.passage == nil && !g.renew.IsZero() {
		return g.line.seat.conn
	}
	return g.line.conn
}

func (g *group) hosts() (all []netip.Addr) {
	for _, p := range g.cfg.Addresses {
		all = append(all, p.Addr())
	}
	return all
}
