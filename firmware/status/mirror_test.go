package status

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func TestMirror(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC)
	for want, m := range map[string]*wire.Mirror{
		"": nil,
		"the other box has every upload, 3 ms behind":           {Alive: true, LagMS: 3},
		"the other box lacks 4, for 1m":                         {Alive: true, Behind: 4, Oldest: now.Add(-time.Minute)},
		"LOST for 1m, 2 uploads are on this disk alone: no way": {Behind: 2, Reason: "no way", Since: now.Add(-time.Minute)},
	} {
		b := Box{Sync: Seen[wire.Sync]{V: &wire.Sync{Mirror: m}, Presence: Live}}
		if got := Mirror(b, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
