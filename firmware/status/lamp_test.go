package status

import (
	"testing"

	"clinicgate/firmware/lamp"
	"clinicgate/firmware/wire"
)

func TestLamp(t *testing.T) {
	for name, c := range map[string]struct {
		want   lamp.State
		change func(*Box)
	}{
		"healthy":       {lamp.Good, func(*Box) {}},
		"a warning":     {lamp.Good, func(b *Box) { b.Net.V.Faults = []wire.Fault{{ID: "x", Severity: wire.Warning}} }},
		"one line":      {lamp.Backup, func(b *Box) { *b = oneLineDown() }},
		"no line":       {lamp.Backup, func(b *Box) { *b = bothDown() }},
		"no tunnel":     {lamp.Backup, func(b *Box) { b.Net.V.Tunnels[0].State = wire.TunnelDown }},
		"no hospital":   {lamp.Backup, func(b *Box) { b.Sync.V.Destinations[0].State = "unreachable" }},
		"standing by":   {lamp.Good, func(b *Box) { b.Pair.V.Groups[0].Role = wire.RoleBackup; b.Net.V.Tunnels[0].State = wire.TunnelDown }},
		"a dead daemon": {lamp.Help, func(b *Box) { b.Card.Presence = Dead }},
		"disk full":     {lamp.Help, func(b *Box) { b.Sync.V.Faults = []wire.Fault{{ID: "sync.disk-full", Severity: wire.Alarm}} }},
		"no site": {lamp.Starting, func(b *Box) {
			*b = firstBoot()
			b.Init.V.Faults = []wire.Fault{{ID: "site.missing", Severity: wire.Alarm}}
		}},
		"no daemon yet": {lamp.Starting, func(b *Box) { *b = firstBoot() }},
		"a bad site":    {lamp.Help, func(b *Box) { b.SiteErr = "site.toml:3: not TOML" }},
		"armed":         {lamp.Updating, func(b *Box) { b.Update = live(wire.Update{State: wire.UpdateArmed}) }},
		"proving":       {lamp.Updating, func(b *Box) { b.Update = live(wire.Update{State: wire.UpdateProving}); b.Card.Presence = Dead }},
		"fetching":      {lamp.Good, func(b *Box) { b.Update = live(wire.Update{State: wire.UpdateFetching}) }},
	} {
		b := healthy()
		c.change(&b)
		if got := Lamp(b); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
