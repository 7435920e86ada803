package main

import (
	"slices"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/report"
	"clinicgate/netd/tunnel"
)

// fanFresh is for how long the fan's word on a path is news.
const fanFresh = 2 * time.Second

// meter tells rates from what the paths of a tunnel carried.
type meter struct {
	at     time.Time
	seen   []tunnel.Traffic
	tx, rx []float64 // bits per second
}

// read takes in what was carried until now.
func (m *meter) read(t *tunnel.Tunnel, paths int, now time.Time) {
	took := now.Sub(m.at).Seconds()
	if took < 0.9 {
		return
	}
	seen, tx, rx := make([]tunnel.Traffic, paths), make([]float64, paths), make([]float64, paths)
	for i := range paths {
		seen[i] = t.Traffic(i)
		if len(m.seen) == paths && took < 10 {
			tx[i], rx[i] = float64(seen[i].Tx-m.seen[i].Tx)*8/took, float64(seen[i].Rx-m.seen[i].Rx)*8/took
		}
	}
	m.at, m.seen, m.tx, m.rx = now, seen, tx, rx
}

// paths is what is known of each uplink as the tunnel uses it.
func (t *tunnelHands) paths(now time.Time) []report.Path {
	if t.tunnel == nil || len(t.meter.seen) == 0 {
		return nil
	}
	way := t.tunnel.Way()
	all := make([]report.Path, len(t.b.ups))
	for i, u := range t.b.ups {
		st, lane := u.machine.Status(), t.tunnel.Lane(i)
		p := report.Path{Uplink: u.cfg.Name, RTT: st.RTT, Loss: st.Loss, TxBPS: t.meter.tx[i], RxBPS: t.meter.rx[i], Datagrams: t.meter.seen[i].Datagrams, Tx: t.meter.seen[i].Tx, Rx: t.meter.seen[i].Rx, Heard: t.tunnel.Heard(i)}
		if now.Sub(lane.Answered) < fanFresh {
			p.RTT, p.Loss = lane.RTT, lane.Lost
		}
		switch {
		case !slices.Contains(way.All, i) && !slices.Contains(way.Small, i):
			p.Sends = wire.PathIdle
		case !slices.Contains(way.All, i):
			p.Sends = wire.PathSmall
		case len(way.Shares) > 0:
			p.Sends = wire.PathShare
		default:
			p.Sends = wire.PathAll
		}
		for _, j := range slices.Concat(way.All, way.Small) {
			if j == i && len(way.Shares) == 0 {
				p.Copies++
			}
		}
		all[i] = p
	}
	return all
}
