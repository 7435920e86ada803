// Package health decides whether a release on trial works: by what its programs
// publish, not by their having started. A verdict is never early and never absent.
package health

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/wire"
)

// Limits of a trial.
const (
	// Steady is how long all must be well without a break.
	Steady = 20 * time.Second
	// Patience is how long it may take until it is. Init's own limit is longer.
	Patience = 6 * time.Minute
	// crashes of one program within the trial are its failure.
	crashes = 3
)

// Verdict on a trial.
type Verdict string

const (
	Wait   Verdict = "wait"
	Well   Verdict = "well"
	Failed Verdict = "failed" // the release is to blame
	World  Verdict = "world"  // it may be as good as any, the links are dead
)

// Signs are what can be seen of the box. A nil file could not be read.
type Signs struct {
	Init *wire.Init
	Net  *wire.Net
	Sync *wire.Sync
	Card *wire.Card
}

// Trial is the examination of one release. Its zero value begins one.
type Trial struct {
	began, well time.Time
}

// Judge takes the signs at a time and returns the verdict, with what is missing.
func (t *Trial) Judge(s Signs, now time.Time) (Verdict, string) {
	if t.began.IsZero() {
		t.began = now
	}
	if why := crashing(s.Init); why != "" {
		return Failed, why
	}
	why, world := s.missing()
	if why == "" {
		if t.well.IsZero() {
			t.well = now
		}
		if now.Sub(t.well) >= Steady {
			return Well, ""
		}
		return Wait, "all is well, for too short a time yet"
	}
	t.well = time.Time{}
	switch {
	case now.Sub(t.began) < Patience:
		return Wait, why
	case world:
		return World, why
	}
	return Failed, why
}

// crashing names a program that ends again and again.
func crashing(i *wire.Init) string {
	if i == nil {
		return ""
	}
	for _, s := range i.Services {
		if s.Crashes >= crashes {
			return fmt.Sprintf("has %s end again and again, last with %s", s.Name, s.LastExit)
		}
	}
	return ""
}

// missing says what is not well; world: what may be nobody's fault here.
func (s Signs) missing() (why string, world bool) {
	if s.Init == nil || len(s.Init.Services) == 0 {
		return "does not say which programs run", false
	}
	for _, svc := range s.Init.Services {
		if svc.State != wire.ServiceReady {
			return fmt.Sprintf("does not bring up %s: %s", svc.Name, svc.State), false
		}
	}
	if s.Card == nil {
		return "has a cardauth that publishes nothing", false
	}
	if s.Sync == nil {
		return "has a syncd that publishes nothing", false
	}
	for _, f := range s.Sync.Faults {
		if f.Severity == wire.Alarm && (strings.HasPrefix(f.ID, "queue") || strings.HasPrefix(f.ID, "store")) {
			return "has trouble with the queue: " + f.What, false
		}
	}
	return s.tunnel()
}

// tunnel must be up if it was before. With no uplink that answers nobody can say
// whose fault it is.
func (s Signs) tunnel() (why string, world bool) {
	if s.Net == nil {
		return "has a netd that publishes nothing", false
	}
	if t := s.Init.Slots; t == nil || t.Trial == nil || !t.Trial.Tunnel {
		return "", false
	}
	for _, t := range s.Net.Tunnels {
		if t.State == wire.TunnelUp {
			return "", false
		}
	}
	for _, u := range s.Net.Uplinks {
		if u.State == wire.UplinkUp || u.State == wire.UplinkDegraded {
			return fmt.Sprintf("does not bring up the tunnel, though uplink %s works", u.Name), false
		}
	}
	return "found no uplink that works", true
}
