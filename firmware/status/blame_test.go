package status

import (
	"strings"
	"testing"

	"clinicgate/firmware/wire"
)

func TestWhoseFault(t *testing.T) {
	for _, c := range []struct {
		state   string
		gateway Answer
		whose   string
		steps   string // link, address, gateway, net
		do      string
	}{
		{wire.UplinkUp, Unasked, FaultNone, "ok ok - ok", ""},
		{wire.UplinkNoLink, Unasked, FaultCable, "FAIL - - -", "check the cable between wan1"},
		{wire.UplinkNoLink, Answers, FaultCable, "FAIL - - -", "check the cable between wan1"},
		{wire.UplinkNoAddress, Unasked, FaultModem, "ok FAIL - -", "switch the modem of isp-a off"},
		{wire.UplinkDown, Answers, FaultProvider, "ok ok ok FAIL", "call isp-a"},
		{wire.UplinkDown, Silence, FaultModem, "ok ok FAIL FAIL", "switch the modem"},
		{wire.UplinkDown, Unasked, FaultUnknown, "ok ok - FAIL", "then call isp-a"},
		{wire.UplinkCaptive, Answers, FaultSignIn, "ok ok ok FAIL", "sign in at login.example"},
		{wire.UplinkDegraded, Answers, FaultProvider, "ok ok ok ok", "call isp-a"},
		{"\x1b[2J", Answers, FaultUnknown, "ok ok ok -", ""},
	} {
		b := WhoseFault(wire.Uplink{Name: "isp-a", Port: "wan1", State: c.state, Reason: "why\x1b", Gateway: "100.64.1.1", UplinkUse: wire.UplinkUse{Portal: "login.example"}}, c.gateway)
		steps := strings.Join([]string{string(b.Link), string(b.Address), string(b.Gateway), string(b.Net)}, " ")
		if b.Whose != c.whose || steps != c.steps || !strings.Contains(b.Do, c.do) {
			t.Errorf("%s, gateway %s: %+v (%s)", c.state, c.gateway, b, steps)
		}
		if text := Blames([]Blame{b}, healthy()); strings.Contains(text, "\x1b") || !strings.Contains(text, "isp-a") {
			t.Errorf("table %q", text)
		}
	}
}
