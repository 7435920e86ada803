package config

import (
	"net/url"
	"strings"
	"time"

	"clinicgate/firmware/site"
)

// Warm is whose records are fetched before they are asked for: who has an
// appointment or an encounter in the coming days, and those two searches find.
type Warm struct {
	Panel  string        // search for the clinic's own patients; empty: none
	Pinned string        // search for those who are always kept; empty: none
	Share  int           // percent of the cache that may be filled so
	Sweep  time.Duration // how often changes of today's patients are asked for
}

// warmFile is [sync.warm] as written.
type warmFile struct {
	Panel  string         `toml:"panel"`
	Pinned string         `toml:"pinned"`
	Share  *int           `toml:"share"`
	Sweep  *site.Duration `toml:"sweep"`
}

const (
	defaultShare = 80 // percent
	defaultSweep = 30 * time.Minute
)

func (c *check) warm(in *file, out *Config) {
	if in.Warm == nil {
		return
	}
	w := &Warm{Panel: c.query("sync.warm.panel", in.Warm.Panel), Pinned: c.query("sync.warm.pinned", in.Warm.Pinned), Share: defaultShare}
	if p := in.Warm.Share; p != nil {
		if w.Share = *p; w.Share < 1 || w.Share > 90 {
			c.bad("sync.warm.share", "got %d, want 1 to 90 percent of the cache", w.Share)
		}
	}
	w.Sweep = c.duration("sync.warm.sweep", in.Warm.Sweep, defaultSweep, time.Minute, 24*time.Hour)
	out.Warm = w
}

// query checks what is behind ? in a search for patients.
func (c *check) query(key, got string) string {
	if got == "" {
		return ""
	}
	values, err := url.ParseQuery(got)
	if err != nil || len(values) == 0 || len(got) > 512 || !strings.Contains(got, "=") || strings.ContainsAny(got, "?#") {
		c.bad(key, "got %q, want the parameters of a search for patients, as \"organization=Organization/1\"", got)
	}
	return got
}
