package tunnel

import (
	"fmt"
	"time"

	"clinicgate/netd/steer"
)

// Rest ends all sessions and calls nobody until Use is called again. The device and
// its routes stay: what is sent into them meanwhile is lost.
func (t *Tunnel) Rest() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.dev.IpcSet("replace_peers=true\n"); err != nil {
		return fmt.Errorf("rest tunnel %s: %w", t.cfg.Name, err)
	}
	t.way, t.proven = steer.Way{}, false
	clear(t.calls)
	return nil
}

// Called returns the latest time that a call to a hub can have had; zero: none was
// made. It is rounded up to whole milliseconds: others write it down in those.
func (t *Tunnel) Called() time.Time {
	at := when(t.bind.called.Load())
	if at.IsZero() {
		return at
	}
	return at.Truncate(time.Millisecond).Add(time.Millisecond)
}
