package status

import (
	"testing"

	"clinicgate/firmware/wire"
)

// find returns the finding of that ID.
func find(b Box, id string) (Finding, bool) {
	for _, f := range Judge(b).Findings {
		if f.ID == id {
			return f, true
		}
	}
	return Finding{}, false
}

// A bad state that its program raised no fault for is found all the same; one it
// named is not told twice.
func TestUntold(t *testing.T) {
	b := healthy()
	b.Net.V.Uplinks[1].State, b.Net.V.Uplinks[1].Reason = wire.UplinkDown, "silent"
	b.Net.V.Tunnels[0].State, b.Net.V.Tunnels[0].Reason = wire.TunnelDown, "no handshake"
	b.Sync.V.Destinations[0].State, b.Sync.V.Destinations[0].Reason = "refusing", "401"
	for id, program := range map[string]string{"uplink.down": "netd", "tunnel.down": "netd", "destination.refusing": "syncd"} {
		if f, ok := find(b, id); !ok || f.Program != program || f.Severity != wire.Warning || f.Stops || f.Do == "" {
			t.Errorf("%s: %+v, %v", id, f, ok)
		}
	}
	b.Net.V.Faults = []wire.Fault{
		{ID: "netd.line", Severity: wire.Alarm, Where: "uplink isp-b", What: "silent"},
		{ID: "netd.tunnel", Severity: wire.Alarm, Where: "tunnels", What: "hub does not answer"},
	}
	b.Sync.V.Faults = []wire.Fault{{ID: "sync.refused", Severity: wire.Alarm, Where: "hospital", What: "401"}}
	for _, id := range []string{"uplink.down", "tunnel.down", "destination.refusing"} {
		if f, ok := find(b, id); ok {
			t.Errorf("told twice: %+v", f)
		}
	}
	// Another program that happens to name it has not told it.
	b.Net.V.Faults = nil
	b.Card.V.Faults = []wire.Fault{{ID: "card.x", Severity: wire.Note, What: "isp-b"}}
	if _, ok := find(b, "uplink.down"); !ok {
		t.Error("cardauth's note hid a dead line")
	}
}

func TestSameTroubleIsOneFinding(t *testing.T) {
	b := healthy()
	trouble := wire.Fault{ID: "site.unusable", Severity: wire.Alarm, What: "site.toml:3: not TOML"}
	trouble.Where = "netd"
	b.Net.V.Faults = []wire.Fault{trouble}
	trouble.Where = "syncd"
	b.Sync.V.Faults = []wire.Fault{trouble}
	if f := Judge(b).Findings; len(f) != 1 || f[0].Where != "netd, syncd" || !f[0].Stops {
		t.Errorf("got %+v", f)
	}
}

func TestWorstFirst(t *testing.T) {
	b := healthy()
	b.Net.V.Faults = []wire.Fault{
		{ID: "n", Severity: wire.Note}, {ID: "w", Severity: wire.Warning, What: "1"},
		{ID: "a", Severity: wire.Alarm, What: "2"}, {ID: "?", Severity: "unheard of", What: "3"},
	}
	b.Sync.V.Faults = []wire.Fault{{ID: "sync.store", Severity: wire.Warning, What: "4"}}
	got := ""
	for _, f := range Judge(b).Findings {
		got += f.ID + " "
	}
	if got != "sync.store a w n ? " {
		t.Errorf("order %q", got)
	}
}

func TestSentences(t *testing.T) {
	for want, change := range map[string]func(*Box){
		"WORKING: internet by isp-a and isp-b, no uploads wait":                           func(*Box) {},
		"WORKING: internet by isp-a and isp-b, 3 uploads wait":                            func(b *Box) { b.Sync.V.Lanes[0].Waiting, b.Sync.V.Lanes[1].Waiting = 1, 2 },
		"WORKING, with 1 thing to look at; internet by isp-a and isp-b, 1 upload waits":   func(b *Box) { b.Sync.V.Lanes[2].Waiting = 1; b.Net.V.Faults = []wire.Fault{{Severity: wire.Warning}} },
		"CUT OFF: internet works by isp-a and isp-b, but not the tunnel; no uploads wait": func(b *Box) { b.Net.V.Tunnels[0].State = wire.TunnelDown },
		"STANDING BY: the other box (not heard yet) serves the clinic":                    func(b *Box) { b.Pair.V.Groups[0].Role = wire.RoleBackup },
		"NEEDS HELP: netd has not started":                                                func(b *Box) { b.Net = Seen[wire.Net]{Presence: Missing} },
		"NEEDS HELP: this box does not offer 10.20.0.1/24 to the clinic: no link on lan": func(b *Box) {
			b.Pair.V.Groups[0].Role, b.Pair.V.Groups[0].Reason = wire.RoleInit, "no link on lan"
		},
	} {
		b := healthy()
		change(&b)
		if got := Judge(b).Sentence; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// A finding stands under the check a technician would look for it at.
func TestChecksSort(t *testing.T) {
	for _, c := range []struct {
		program, id, check string
		into               func(*Box) *[]wire.Fault
	}{
		{"netd", "lan.no-link", "clinic network", func(b *Box) *[]wire.Fault { return &b.Net.V.Faults }},
		{"netd", "tunnel.key", "tunnel", func(b *Box) *[]wire.Fault { return &b.Net.V.Faults }},
		{"netd", "netd.no-uplink", "internet lines", func(b *Box) *[]wire.Fault { return &b.Net.V.Faults }},
		{"failoverd", "pair.no-link", "clinic network", func(b *Box) *[]wire.Fault { return &b.Pair.V.Faults }},
		{"failoverd", "pair.two-masters", "clinic address", func(b *Box) *[]wire.Fault { return &b.Pair.V.Faults }},
		{"cardauth", "card.no-reader", "card readers", func(b *Box) *[]wire.Fault { return &b.Card.V.Faults }},
		{"syncd", "sync.ehr-unreachable", "records and uploads", func(b *Box) *[]wire.Fault { return &b.Sync.V.Faults }},
		{"init", "log.disk", "programs", func(b *Box) *[]wire.Fault { return &b.Init.V.Faults }},
		{"init", "site.missing", "site file", func(b *Box) *[]wire.Fault { return &b.Init.V.Faults }},
	} {
		b := healthy()
		*c.into(&b) = []wire.Fault{{ID: c.id, Severity: wire.Alarm, Where: "here", What: "it"}}
		for _, check := range Checks(b, now) {
			want := "ok"
			if check.Name == c.check {
				want = "wrong"
			}
			if check.State != want {
				t.Errorf("%s: check %q is %s, want %s", c.id, check.Name, check.State, want)
			}
		}
	}
}
