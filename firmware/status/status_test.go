package status

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
	"clinicgate/firmware/wire"
)

var rewrite = flag.Bool("rewrite", false, "write the screens into testdata; the diff is the review")

var now = time.Date(2026, 11, 22, 8, 34, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

func live[T any](v T) Seen[T] { return Seen[T]{V: &v, Presence: Live} }

func header(program string, faults ...wire.Fault) wire.Header {
	return wire.Header{V: wire.Version, Program: program, Release: "0.1.0", Published: before(time.Minute), PID: 140, Faults: faults}
}

// healthy is a clinic on a good morning.
func healthy() Box {
	var services []wire.Service
	for name, rss := range map[string]int64{"netd": 17 << 20, "failoverd": 9 << 20} {
		services = append(services, wire.Service{Name: name, State: wire.ServiceReady, PID: 140, Since: before(3 * time.Hour), RSS: rss})
	}
	if services[0].Name != "netd" {
		services[0], services[1] = services[1], services[0]
	}
	return Box{
		Site: site.Identity{Name: "Peñafiel", Code: "ES-VA-047"},
		Init: live(wire.Init{
			Header: header("init"), Board: "qemu-x86_64", Booted: before(292*time.Hour + 11*time.Minute), Watchdog: "i6300esb",
			SecureBoot: "on", Lockdown: "integrity",
			Services: append(services,
				wire.Service{Name: "cardauth", State: wire.ServiceReady, RSS: 12 << 20},
				wire.Service{Name: "syncd", State: wire.ServiceReady, RSS: 31 << 20, Restarts: 1}),
		}),
		Net: live(wire.Net{
			Header: header("netd"), LAN: wire.LAN{Port: "lan", Carrier: true, Address: "10.20.0.2/24"}, Active: "isp-a",
			Uplinks: []wire.Uplink{
				{Name: "isp-a", Port: "wan1", State: wire.UplinkUp, Reason: "5 of 5 probes answered", Since: before(2 * time.Hour), Address: "100.64.1.117/24", RTTMS: 8.2},
				{Name: "isp-b", Port: "wan2", State: wire.UplinkUp, Reason: "5 of 5 probes answered", Since: before(26 * time.Hour), Address: "198.51.100.2/24", RTTMS: 38, LossPct: 1},
			},
			Tunnels: []wire.Tunnel{{Name: "hub", State: wire.TunnelUp, Reason: "handshake 12 s ago", Since: before(2 * time.Hour), Via: "isp-a", RTTMS: 9}},
		}),
		Pair: live(wire.Failover{Header: header("failoverd"), Groups: []wire.Group{{
			Name: "lan", VRID: 20, Port: "lan", Role: wire.RoleMaster, Reason: "no other box heard for 3.6 s",
			Since: before(3 * time.Hour), Priority: 100, Addresses: []string{"10.20.0.1/24"},
		}}}),
		Card: live(wire.Card{
			Header:   header("cardauth"),
			Readers:  []wire.Reader{{Name: "QEMU USB CCID 00 00", Room: "consulting-1", State: wire.ReaderSession, Since: before(4 * time.Minute)}},
			Sessions: []wire.Session{{ID: "s-3f2a", Role: wire.RoleDoctor, Subject: "Practitioner/4711", Room: "consulting-1"}},
		}),
		Sync: live(wire.Sync{
			Header: header("syncd"),
			Lanes:  []wire.Lane{{Name: "stat", Delivered: 3}, {Name: "routine", Delivered: 9}, {Name: "bulk"}},
			Destinations: []wire.Destination{
				{Name: "hospital", Kind: "stow", State: "ok"}, {Name: "ehr", Kind: "fhir", State: "ok"},
			},
			Cache: wire.Cache{Resources: 412, Bytes: 1048576, LastContact: before(40 * time.Second)},
			Disk:  wire.Disk{Total: 1 << 30, Free: 3 << 28}, Keys: "software: board has no TPM",
		}),
	}
}

var noLink = wire.Fault{
	ID: "uplink.no-link", Severity: wire.Alarm, Where: "port wan1", What: "no carrier on wan1 (uplink isp-a)",
	Do: "check the cable between wan1 and the modem of isp-a, and that the modem has power", Since: before(4 * time.Minute),
}

func oneLineDown() Box {
	b := healthy()
	b.Net.V.Faults = []wire.Fault{noLink}
	b.Net.V.Uplinks[0] = wire.Uplink{Name: "isp-a", Port: "wan1", State: wire.UplinkNoLink, Reason: "no carrier", Since: before(4 * time.Minute)}
	b.Net.V.Active, b.Net.V.Tunnels[0].Via = "isp-b", "isp-b"
	return b
}

func bothDown() Box {
	b := oneLineDown()
	b.Net.V.Active = ""
	b.Net.V.Uplinks[1].State, b.Net.V.Uplinks[1].Reason, b.Net.V.Uplinks[1].LossPct = wire.UplinkDown, "3 probes unanswered; the gateway answers", 100
	b.Net.V.Faults = append(b.Net.V.Faults, wire.Fault{
		ID: "uplink.down", Severity: wire.Alarm, Where: "uplink isp-b", What: "nothing comes back through isp-b; its gateway 198.51.100.1 answers",
		Do: "call isp-b: the fault is behind their modem", Since: before(90 * time.Second),
	})
	b.Net.V.Tunnels[0] = wire.Tunnel{Name: "hub", State: wire.TunnelDown, Reason: "no usable uplink", Since: before(80 * time.Second)}
	b.Sync.V.Lanes[0].Waiting, b.Sync.V.Lanes[0].Oldest, b.Sync.V.Lanes[0].Bytes = 2, before(70*time.Second), 291000
	b.Sync.V.Destinations[0].State, b.Sync.V.Destinations[0].Reason, b.Sync.V.Destinations[0].Since = "unreachable", "no usable uplink", before(75*time.Second)
	b.Sync.V.Cache.LastContact = before(95 * time.Second)
	return b
}

func firstBoot() Box {
	unset := func(program string) wire.Header {
		return header(program, wire.Fault{
			ID: "site.unusable", Severity: wire.Alarm, Where: program, What: "site.toml: open /data/site/site.toml: no such file or directory",
			Do: "mend the site file (gatectl site check shows all complaints); until then " + program + " waits", Since: before(20 * time.Second),
		})
	}
	b := healthy()
	b.Site, b.SiteErr = site.Identity{}, "site.toml: open /data/site/site.toml: no such file or directory"
	b.Init.V.Booted = before(25 * time.Second)
	b.Net, b.Pair = Seen[wire.Net]{Presence: Missing}, live(wire.Failover{Header: unset("failoverd")})
	b.Card, b.Sync = live(wire.Card{Header: unset("cardauth")}), live(wire.Sync{Header: unset("syncd")})
	for i := range b.Init.V.Services {
		b.Init.V.Services[i].State = wire.ServiceStarting
	}
	return b
}

func deadDaemon() Box {
	b := healthy()
	b.Sync.Presence, b.Sync.Why = Dead, "process 140 is gone"
	b.Sync.V.Faults = []wire.Fault{noLink} // of the past: not shown
	b.Init.V.Services[3].State, b.Init.V.Services[3].LastExit, b.Init.V.Services[3].RSS = wire.ServiceBackoff, "signal: killed", 0
	return b
}

func standby() Box {
	b := healthy()
	g := &b.Pair.V.Groups[0]
	g.Role, g.Reason, g.Peer = wire.RoleBackup, "10.20.0.3 is master with priority 150, this box has 100", "10.20.0.3"
	return b
}

// hostile is what a broken or evil neighbour may put into any text.
func hostile() Box {
	b := oneLineDown()
	evil := "\x1b[2J\x1b]0;owned\x07\r\n\u202e" + strings.Repeat("lång ", 400) + strings.Repeat("x", 300)
	b.Site.Name, b.Net.V.Uplinks[0].Reason, b.Net.V.Uplinks[0].Name = evil, evil, evil
	b.Net.V.Faults[0].What, b.Net.V.Faults[0].Do, b.Net.V.Faults[0].Where = evil, evil, evil
	b.Card.V.Readers[0].Room, b.Pair.V.Groups[0].Reason = evil, evil
	b.Sync.V.Destinations[0].Reason, b.Init.V.Services[0].Name = evil, evil
	b.Init.V.Booted = now.Add(time.Hour) // and the clock was set back
	return b
}

var cases = map[string]struct {
	box   Box
	level Level
}{
	"healthy":     {healthy(), OK},
	"onelinedown": {oneLineDown(), Degraded},
	"bothdown":    {bothDown(), Degraded},
	"firstboot":   {firstBoot(), Failed},
	"deaddaemon":  {deadDaemon(), Failed},
	"standby":     {standby(), OK},
	"hostile":     {hostile(), Degraded},
	"nothing":     {nothing(), Failed},
}

// nothing is a run directory without any file.
func nothing() Box {
	return Box{
		SiteErr: "site.toml: open /data/site/site.toml: no such file or directory",
		Init:    Seen[wire.Init]{Presence: Missing}, Net: Seen[wire.Net]{Presence: Missing}, Pair: Seen[wire.Failover]{Presence: Missing},
		Card: Seen[wire.Card]{Presence: Missing}, Sync: Seen[wire.Sync]{Presence: Unreadable, Why: "permission denied"},
	}
}

func TestScreens(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if v := Judge(c.box); v.Level != c.level {
				t.Errorf("level %v, want %v: %s", v.Level, c.level, v.Sentence)
			}
			golden(t, name+".screen", Screen(c.box, now, 80, 24))
			golden(t, name+".doctor", Doctor(c.box, now, 80))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	for i, l := range strings.Split(got, "\n") {
		if len(l) > 79 {
			t.Errorf("%s:%d: %d columns: %q", name, i+1, len(l), l)
		}
		if j := strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r > '~' }); j >= 0 {
			t.Errorf("%s:%d: not printable ASCII: %q", name, i+1, l)
		}
	}
	if strings.HasSuffix(name, ".screen") && strings.Count(got, "\n") > 24 {
		t.Errorf("%s: %d lines", name, strings.Count(got, "\n"))
	}
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, got:\n%s", name, got)
	}
}

// Whatever is seen, every finding of the verdict is under one check of the doctor.
func TestDoctorLosesNothing(t *testing.T) {
	for name, c := range cases {
		n := 0
		for _, check := range Checks(c.box, now) {
			n += len(check.Findings)
		}
		if want := len(Judge(c.box).Findings); n != want {
			t.Errorf("%s: %d findings, want %d", name, n, want)
		}
	}
}

func TestLevels(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Box)
		want   Level
	}{
		"a note":      {func(b *Box) { b.Net.V.Faults = []wire.Fault{{Severity: wire.Note}} }, OK},
		"a warning":   {func(b *Box) { b.Net.V.Faults = []wire.Fault{{Severity: wire.Warning}} }, Degraded},
		"out of pair": {func(b *Box) { b.Pair.V.Groups[0].Role = wire.RoleInit }, Failed},
		"disk full":   {func(b *Box) { b.Sync.V.Disk.Free = 1 }, Failed},
		"disk full, told": {func(b *Box) {
			b.Sync.V.Disk.Free, b.Sync.V.Faults = 1, []wire.Fault{{ID: "sync.disk-full", Severity: wire.Alarm}}
		}, Failed},
		"no reader":      {func(b *Box) { b.Card.V.Faults = []wire.Fault{{ID: "card.no-reader", Severity: wire.Alarm}} }, Failed},
		"no init":        {func(b *Box) { b.Init = Seen[wire.Init]{Presence: Missing} }, OK},
		"netd not there": {func(b *Box) { b.Net = Seen[wire.Net]{Presence: Missing} }, Failed},
		"files broken":   {func(b *Box) { b.Card = Seen[wire.Card]{Presence: Unreadable, Why: "not JSON"} }, Failed},
	} {
		b := healthy()
		c.change(&b)
		if got := Judge(b); got.Level != c.want {
			t.Errorf("%s: %v (%s), want %v", name, got.Level, got.Sentence, c.want)
		}
	}
}

// Any JSON that decodes can be drawn, at any size.
func FuzzScreen(f *testing.F) {
	for _, c := range cases {
		data, err := json.Marshal(c.box)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, 80, 24)
	}
	f.Fuzz(func(t *testing.T, data []byte, width, height int) {
		var b Box
		if json.Unmarshal(data, &b) != nil {
			return
		}
		for _, p := range []struct{ live, there bool }{
			{b.Init.Presence == Live, b.Init.V != nil}, {b.Net.Presence == Live, b.Net.V != nil}, {b.Pair.Presence == Live, b.Pair.V != nil},
			{b.Card.Presence == Live, b.Card.V != nil}, {b.Sync.Presence == Live, b.Sync.V != nil},
		} {
			if p.live && !p.there {
				return // Seen forbids it
			}
		}
		width = 40 + width%200
		for _, l := range strings.Split(Screen(b, now, width, height)+Doctor(b, now, width), "\n") {
			if len(l) >= max(width, 40) || strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Fatalf("width %d: %q", width, l)
			}
		}
	})
}
