package config

import (
	"time"

	"clinicgate/firmware/site"
)

// Queue is the policy of what waits for delivery.
type Queue struct {
	Share    int64         // bytes one device may have undelivered; 0: half of the partition
	StatLate time.Duration // an urgent upload that waits longer is an alarm
}

// queueFile is [sync.queue] as written.
type queueFile struct {
	ShareMB  *int64         `toml:"share_mb"`
	StatLate *site.Duration `toml:"stat_late"`
}

func (c *check) queue(in *file, out *Config) {
	q := in.Queue
	if q == nil {
		q = &queueFile{}
	}
	if q.ShareMB != nil {
		if *q.ShareMB < 64 || *q.ShareMB > 1<<20 {
			c.bad("sync.queue.share_mb", "got %d, want 64 to %d", *q.ShareMB, 1<<20)
		}
		out.Queue.Share = *q.ShareMB << 20
	}
	out.Queue.StatLate = c.duration("sync.queue.stat_late", q.StatLate, 5*time.Minute, 10*time.Second, 24*time.Hour)
}
