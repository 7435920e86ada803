package status

import (
	"fmt"
	"strings"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// Answer is whether somebody answered a ping.
type Answer string

// The answers.
const (
	Unasked Answer = "-"
	Answers Answer = "ok"
	Silence Answer = "FAIL"
)

// Whose fault a line's trouble is.
const (
	FaultNone     = ""         // it works
	FaultCable    = "cable"    // here: cable, port or the modem's power
	FaultModem    = "modem"    // the provider's box in the clinic
	FaultProvider = "provider" // beyond it
	FaultSignIn   = "sign-in"  // somebody has to agree to a page
	FaultUnknown  = "unknown"
)

// Blame is one line, step by step from the cable outwards, and whose fault it is
// that it goes no further.
type Blame struct {
	Line    string `json:"line"`
	Link    Answer `json:"link"`
	Address Answer `json:"address"`
	Gateway Answer `json:"gateway"`
	Net     Answer `json:"net"`
	Whose   string `json:"whose,omitempty"`
	Why     string `json:"why"`
	Do      string `json:"do,omitempty"`
}

// WhoseFault judges a line by its state and by whether its gateway answered just now.
func WhoseFault(u wire.Uplink, gateway Answer) Blame {
	b := Blame{Line: u.Name, Link: Answers, Address: Answers, Gateway: gateway, Net: Silence, Why: u.Reason}
	switch u.State {
	case wire.UplinkUp:
		b.Net, b.Why = Answers, "works"
	case wire.UplinkDegraded:
		b.Net, b.Whose, b.Do = Answers, FaultProvider, "if it stays so, call "+u.Name+" and tell them loss and times"
	case wire.UplinkNoLink:
		b.Link, b.Address, b.Gateway, b.Net, b.Whose = Silence, Unasked, Unasked, Unasked, FaultCable
		b.Do = "check the cable between " + u.Port + " and the modem of " + u.Name + " at both ends, then the modem's power; try another cable"
	case wire.UplinkNoAddress:
		b.Address, b.Gateway, b.Net, b.Whose = Silence, Unasked, Unasked, FaultModem
		b.Do = "switch the modem of " + u.Name + " off for a minute; if it still gives no address, call " + u.Name
	case wire.UplinkCaptive:
		b.Whose, b.Do = FaultSignIn, "somebody has to sign in at "+u.Portal+" from a device on this line; or call "+u.Name
	case wire.UplinkDown:
		b.down(u)
	default:
		b.Net, b.Whose = Unasked, FaultUnknown
	}
	b.Line, b.Why, b.Do = ascii.Text(b.Line), ascii.Text(b.Why), ascii.Text(b.Do)
	return b
}

// down is a line with an address through which nothing comes back.
func (b *Blame) down(u wire.Uplink) {
	switch b.Gateway {
	case Answers:
		b.Whose = FaultProvider
		b.Why = fmt.Sprintf("the modem (%s) answers, nothing beyond it does: %s", u.Gateway, u.Reason)
		b.Do = "call " + u.Name + ": the fault is behind their modem, on their side"
	case Silence:
		b.Whose = FaultModem
		b.Why = fmt.Sprintf("the modem (%s) does not answer: %s", u.Gateway, u.Reason)
		b.Do = "switch the modem of " + u.Name + " off for a minute; if it stays silent, call " + u.Name + " for another one"
	default:
		b.Whose = FaultUnknown
		b.Do = "switch the modem of " + u.Name + " off for a minute; then call " + u.Name
	}
}

// Blames is the table of all lines.
func Blames(all []Blame, box Box) string {
	var b strings.Builder
	via := map[string]bool{}
	if box.Net.V != nil {
		for _, t := range box.Net.V.Tunnels {
			via[t.Via] = via[t.Via] || t.State == wire.TunnelUp
		}
	}
	fmt.Fprintf(&b, "%-12s %-5s %-7s %-7s %-5s %-7s %s\n", "LINE", "LINK", "ADDRESS", "GATEWAY", "NET", "TUNNEL", "WHOSE FAULT")
	for _, x := range all {
		tunnel, whose := "-", "nobody's: it works"
		if via[x.Line] {
			tunnel = "here"
		}
		if x.Whose != FaultNone {
			whose = strings.ToUpper(x.Whose)
		}
		fmt.Fprintf(&b, "%-12s %-5s %-7s %-7s %-5s %-7s %s\n", ascii.Cut(x.Line, 12), x.Link, x.Address, x.Gateway, x.Net, tunnel, whose)
		if x.Whose != FaultNone {
			indent(&b, x.Why)
			indent(&b, "DO: "+x.Do)
		}
	}
	if len(all) == 0 {
		b.WriteString("no line is known: netd says nothing, or the site file has none\n")
	}
	return Plain(b.String()) + "\n"
}
