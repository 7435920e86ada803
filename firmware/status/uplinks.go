package status

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// Uplinks is the list of the lines out, for a terminal of 80 columns.
func Uplinks(net Seen[wire.Net], now time.Time) string {
	var b strings.Builder
	if net.V == nil {
		return ascii.Text("netd: "+string(net.Presence)+" "+net.Why) + "\n"
	}
	fmt.Fprintf(&b, "%-12s %-9s %5s %8s %8s %6s %9s %9s\n", "LINE", "STATE", "FLOWS", "RTT MS", "JITTER", "LOSS", "IN BIT/S", "OUT BIT/S")
	for _, u := range net.V.Uplinks {
		fmt.Fprintf(&b, "%-12s %-9s %4d%% %8s %8s %5.0f%% %9s %9s\n", u.Name, u.State, u.Share,
			measured(u.RTTMS), measured(max(u.JitterOutMS, u.JitterInMS)), u.LossPct, ascii.Rate(u.RxBPS), ascii.Rate(u.TxBPS))
		indent(&b, fmt.Sprintf("%s, for %s: %s", u.Port, ascii.Age(u.Since, now), ascii.Text(u.Reason)))
		if use := usage(u); use != "" {
			indent(&b, use)
		}
	}
	return past(net.Presence) + Plain(b.String()) + "\n"
}

// indent writes a text below the line that it is about.
func indent(b *strings.Builder, text string) {
	for _, line := range ascii.Wrap(text, columns-2) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// columns of a serial console.
const columns = 80

// usage says what an uplink is for and what it carried.
func usage(u wire.Uplink) string {
	var parts []string
	if u.Role != "" {
		parts = append(parts, u.Role)
	}
	if u.LineUp > 0 || u.LineDown > 0 {
		parts = append(parts, fmt.Sprintf("carries %s in, %s out", ascii.Rate(float64(u.LineDown)), ascii.Rate(float64(u.LineUp))))
	}
	if u.LossOutPct > 0 || u.LossInPct > 0 {
		parts = append(parts, fmt.Sprintf("loses %.1f%% out, %.1f%% in", u.LossOutPct, u.LossInPct))
	}
	if m := u.Month; m != nil {
		text := ascii.Volume(m.Bytes) + " since " + m.Since.Format("2 Jan")
		if m.Cap > 0 {
			text += fmt.Sprintf(" of %s (%d%%)", ascii.Volume(m.Cap), m.Bytes*100/m.Cap)
		}
		if m.Cost > 0 {
			text += fmt.Sprintf(", cost %.2f", m.Cost)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// measured shows a measure that is zero while nobody knows it.
func measured(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", ms)
}

// Way explains which way a flow takes.
func Way(w wire.FlowWay) string {
	var b strings.Builder
	to := w.Dst
	switch {
	case w.Port != 0:
		to += fmt.Sprintf(" %s/%d", w.Proto, w.Port)
	case w.Proto != "":
		to += " " + w.Proto
	}
	fmt.Fprintf(&b, "%s to %s: %s\n", w.Src, to, verdict(w))
	for _, line := range w.Why {
		indent(&b, ascii.Text(line))
	}
	for _, line := range w.Others {
		indent(&b, "not "+ascii.Text(line))
	}
	fmt.Fprintf(&b, "  mark %s, rule %d, table %d: %s\n", w.Mark, w.Rule, w.Table, w.Route)
	if w.Agrees {
		fmt.Fprintf(&b, "  the kernel agrees: %s\n", w.Device)
	} else {
		fmt.Fprintf(&b, "  THE KERNEL DOES NOT AGREE: %s; tell cloud ops\n", w.Device)
	}
	return Plain(b.String()) + "\n"
}

func verdict(w wire.FlowWay) string {
	switch w.Kind {
	case wire.WayZone:
		return "stays in the clinic, in " + w.Name
	case wire.WayTunnel:
		return "by tunnel " + w.Name
	case wire.WayRefused:
		return "refused"
	case wire.WayNone:
		return "no way"
	}
	var parts []string
	for _, p := range w.Uplinks {
		parts = append(parts, fmt.Sprintf("%s (%d%%)", p.Name, p.Percent))
	}
	if len(parts) == 1 {
		return "by " + w.Uplinks[0].Name
	}
	return "by " + strings.Join(parts, " or ")
}
