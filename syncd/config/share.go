package config

import (
	"time"

	"clinicgate/firmware/site"
)

// Share is what uploads that are not urgent may take of the up-link.
type Share struct {
	Bulk    int           // percent, for the lane bulk
	Routine int           // percent, for routine and bulk together
	Wait    time.Duration // bulk waits so long for an uplink that costs less
}

// shareFile is [sync.share] as written.
type shareFile struct {
	Bulk    *int           `toml:"bulk"`
	Routine *int           `toml:"routine"`
	Wait    *site.Duration `toml:"wait"`
}

// Defaults of [sync.share].
const (
	defaultBulk     = 80
	defaultRoutine  = 95
	defaultDearWait = 24 * time.Hour
)

func (c *check) share(in *file, out *Config) {
	got := in.Share
	if got == nil {
		got = &shareFile{}
	}
	percent := func(key string, p *int, def int) int {
		if p == nil {
			return def
		}
		if *p < 1 || *p > 100 {
			c.bad(key, "got %d, want 1 to 100 percent", *p)
		}
		return *p
	}
	out.Share.Bulk = percent("sync.share.bulk", got.Bulk, defaultBulk)
	out.Share.Routine = percent("sync.share.routine", got.Routine, max(defaultRoutine, out.Share.Bulk))
	if out.Share.Bulk > out.Share.Routine {
		c.bad("sync.share.bulk", "got %d, want at most sync.share.routine, %d, which it is a part of", out.Share.Bulk, out.Share.Routine)
	}
	out.Share.Wait = c.duration("sync.share.wait", got.Wait, defaultDearWait, time.Second, 31*24*time.Hour)
}
