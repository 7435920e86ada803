package status

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// Tunnels is the list of the tunnels with their hubs and paths, for a terminal of 80
// columns.
func Tunnels(net Seen[wire.Net], now time.Time) string {
	var b strings.Builder
	if net.V == nil {
		return ascii.Text("netd: "+string(net.Presence)+" "+net.Why) + "\n"
	}
	if len(net.V.Tunnels) == 0 {
		b.WriteString("no tunnel in the site file\n")
	}
	for _, t := range net.V.Tunnels {
		fmt.Fprintf(&b, "%s %s for %s\n", t.Name, t.State, ascii.Age(t.Since, now))
		indent(&b, ascii.Text(t.Reason))
		indent(&b, fmt.Sprintf("%s on %s, packets to %d bytes; RTT %s ms; %s out, %s in%s", t.Policy, t.Device, t.MTU,
			measured(t.RTTMS), ascii.Volume(t.TxBytes), ascii.Volume(t.RxBytes), doubled(t)))
		for _, h := range t.Hubs {
			indent(&b, tunnelHub(h, now))
		}
		tunnelPaths(&b, t.Paths, now)
	}
	return past(net.Presence) + Plain(b.String()) + "\n"
}

// doubled says what copies came to nothing else.
func doubled(t wire.Tunnel) string {
	if t.Doubled == 0 {
		return ""
	}
	return fmt.Sprintf("; %s of copies not needed", ascii.Volume(t.Doubled))
}

func tunnelHub(h wire.TunnelHub, now time.Time) string {
	use, shake := "stands by", "no handshake yet"
	if h.InUse {
		use = "in use"
	}
	if !h.Handshake.IsZero() {
		shake = "handshake " + ascii.Age(h.Handshake, now) + " ago"
	}
	return fmt.Sprintf("hub %s %s, %s", h.Endpoint, use, shake)
}

func tunnelPaths(b *strings.Builder, paths []wire.TunnelPath, now time.Time) {
	if len(paths) == 0 {
		return
	}
	fmt.Fprintf(b, "  %-12s %-6s %6s %7s %5s %9s %9s %9s %6s\n", "PATH", "SENDS", "COPIES", "RTT MS", "LOSS", "OUT BIT/S", "IN BIT/S", "DATAGRAMS", "HEARD")
	for _, p := range paths {
		heard := "never"
		if !p.Heard.IsZero() {
			heard = ascii.Age(p.Heard, now)
		}
		fmt.Fprintf(b, "  %-12s %-6s %6d %7s %4.0f%% %9s %9s %9s %6s\n", p.Uplink, p.Sends, p.Copies,
			measured(p.RTTMS), p.LossPct, ascii.Rate(p.TxBPS), ascii.Rate(p.RxBPS), ascii.Thousands(float64(p.Datagrams), ""), heard)
	}
}
