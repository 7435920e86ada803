package config

import (
	"slices"
	"time"

	"clinicgate/firmware/site"
)

// Audit is where the trail of accesses goes, and how long it stays here too.
type Audit struct {
	To    string        // a destination of KindFHIR
	Keep  time.Duration // what was delivered stays here for so long
	Bytes int64         // and takes so much at most
	Late  time.Duration // what waits longer is a fault
}

type auditFile struct {
	To     string         `toml:"to"`
	Keep   *site.Duration `toml:"keep"`
	SizeMB *int64         `toml:"size_mb"`
	Late   *site.Duration `toml:"late"`
}

const (
	day         = 24 * time.Hour
	year        = 365 * day
	auditSizeMB = 1024
)

// audit comes after destinations, one of which it names.
func (c *check) audit(in *file, out *Config) {
	a := in.Audit
	if a == nil {
		return
	}
	fhir := func(d Destination) bool { return d.Name == a.To && d.Kind == KindFHIR }
	if !slices.ContainsFunc(out.Destinations, fhir) {
		c.bad("sync.audit.to", "got %q, want the name of a [[sync.destination]] of kind %q", a.To, KindFHIR)
	}
	size := int64(auditSizeMB)
	if a.SizeMB != nil {
		if size = *a.SizeMB; size < 16 || size > 1<<20 {
			c.bad("sync.audit.size_mb", "got %d, want 16 to %d", size, 1<<20)
		}
	}
	out.Audit = &Audit{
		To: a.To, Bytes: size << 20, Keep: c.duration("sync.audit.keep", a.Keep, 2*year, day, 30*year),
		Late: c.duration("sync.audit.late", a.Late, day, time.Minute, 30*day),
	}
}
