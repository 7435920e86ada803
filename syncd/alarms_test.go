package main

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func TestAlarms(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	waits := func(lane string, age time.Duration) []wire.Lane {
		return []wire.Lane{{Name: lane, Waiting: 1, Oldest: now.Add(-age)}}
	}
	for _, c := range []struct {
		name   string
		v      wire.Sync
		newest time.Time
		want   string
	}{
		{"nothing", wire.Sync{Disk: wire.Disk{Total: 100, Free: 50}}, now, ""},
		{"a fresh stat item", wire.Sync{Lanes: waits("stat", time.Minute)}, now, ""},
		{"a late stat item", wire.Sync{Lanes: waits("stat", 6*time.Minute)}, now, faultLate},
		{"an old routine item", wire.Sync{Lanes: waits("routine", time.Hour)}, now, ""},
		{"a disk nearly full", wire.Sync{Disk: wire.Disk{Total: 100, Free: 9}}, now, faultDiskLow},
		{"a clock set back", wire.Sync{}, now.Add(time.Hour), faultClock},
		{"a clock corrected by a little", wire.Sync{}, now.Add(time.Minute), ""},
	} {
		got := ""
		for id, faults := range alarms(&c.v, c.newest, now, 5*time.Minute) {
			if len(faults) > 0 {
				got += id
				if faults[0].What == "" || faults[0].Do == "" || faults[0].Where == "" {
					t.Errorf("%s: says too little: %+v", c.name, faults[0])
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
