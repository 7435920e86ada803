package main

import (
	"fmt"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
)

// Bounds beyond which a person is told.
const (
	clockSlack  = 5 * time.Minute // of the newest upload's time being ahead of the clock
	lowDiskPart = 10              // one in so many of the partition is left
)

// alarms are what the published state says is wrong with uploads as a whole.
func alarms(v *wire.Sync, newest, now time.Time, late time.Duration) map[string][]wire.Fault {
	faults := map[string][]wire.Fault{faultLate: nil, faultDiskLow: nil, faultClock: nil}
	for _, l := range v.Lanes {
		if age := now.Sub(l.Oldest); l.Name == lane.Stat.String() && !l.Oldest.IsZero() && age > late {
			faults[faultLate] = []wire.Fault{{
				Severity: wire.Alarm, Where: "lane " + l.Name,
				What: fmt.Sprintf("%d urgent uploads wait, the oldest since %s, want at most %v", l.Waiting, l.Oldest.UTC().Format("15:04:05"), late),
				Do:   "someone may be waiting for it: call the specialist and read it out; see the lines and destinations in gatectl status",
			}}
		}
	}
	if d := v.Disk; d.Total > 0 && d.Free < d.Total/lowDiskPart {
		faults[faultDiskLow] = []wire.Fault{{
			Severity: wire.Warning, Where: "data partition", What: fmt.Sprintf("%d MiB of %d are left for uploads and records", d.Free>>20, d.Total>>20),
			Do: "see in gatectl status what waits and why; when nothing is left devices are told to keep their recordings",
		}}
	}
	if newest.Sub(now) > clockSlack {
		faults[faultClock] = []wire.Fault{{
			Severity: wire.Alarm, Where: "clock",
			What: "it is behind the time of uploads accepted before, so their age and order can't be told",
			Do:   "see gatectl net time and mend the clock; nothing is lost meanwhile",
		}}
	}
	return faults
}
