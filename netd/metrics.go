package main

import (
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
	"clinicgate/netd/uplink"
)

// measure keeps the metrics in line with the wire file. Labels are names of the
// site file.
func measure(m *metric.Set, n *wire.Net) {
	for _, u := range n.Uplinks {
		m.Gauge("netd_uplink_usable", "1 while new flows may take the uplink.", "uplink", u.Name).Set(one(uplink.Usable(u.State)))
		m.Gauge("netd_uplink_active", "1 while new flows take the uplink.", "uplink", u.Name).Set(one(u.Name == n.Active))
		m.Gauge("netd_uplink_rtt_seconds", "Smoothed round trip of probes; 0 while unknown.", "uplink", u.Name).Set(u.RTTMS / 1000)
		m.Gauge("netd_uplink_loss_ratio", "Share of the last probes lost.", "uplink", u.Name).Set(u.LossPct / 100)
		m.Gauge("netd_uplink_receive_bytes", "Bytes received since the port was made.", "uplink", u.Name).Set(float64(u.RxBytes))
		m.Gauge("netd_uplink_transmit_bytes", "Bytes sent since the port was made.", "uplink", u.Name).Set(float64(u.TxBytes))
	}
	for _, t := range n.Tunnels {
		m.Gauge("netd_tunnel_up", "1 while the hub answers.", "tunnel", t.Name).Set(one(t.State == wire.TunnelUp))
	}
	m.Gauge("netd_faults", "Faults that stand.").Set(float64(len(n.Faults)))
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
