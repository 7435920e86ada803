package report

import (
	"math"

	"clinicgate/firmware/wire"
)

// more adds the tunnel's hubs and paths to what others see.
func (t Tunnel) more(w *wire.Tunnel) {
	w.Policy, w.MTU = t.Config.Policy, t.MTU
	for i, at := range t.Hubs {
		w.Hubs = append(w.Hubs, wire.TunnelHub{Endpoint: t.Config.Hubs[i].Endpoint.String(), InUse: i == t.Hub, Handshake: utc(at)})
	}
	var came uint64
	for _, p := range t.Paths {
		came += p.Rx
		w.Paths = append(w.Paths, wire.TunnelPath{
			Uplink: p.Uplink, Sends: p.Sends, Copies: p.Copies, RTTMS: millis(p.RTT), LossPct: math.Round(p.Loss*10) / 10,
			TxBPS: math.Round(p.TxBPS), RxBPS: math.Round(p.RxBPS),
			Datagrams: p.Datagrams, TxBytes: p.Tx, RxBytes: p.Rx, Heard: utc(p.Heard),
		})
	}
	if came > t.Accepted {
		w.Doubled = came - t.Accepted
	}
}
