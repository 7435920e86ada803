package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// TestQueue: a backup fills a slow line. A consultation's packets don't wait behind it
// when netd knows the line's rate; the same line without is what it is compared with.
func TestQueue(t *testing.T) {
	needs(t)
	bin := programs(t)
	var without, with time.Duration
	var through0, through float64
	t.Run("without", func(t *testing.T) { without, through0 = consult(t, bin, "") })
	t.Run("with", func(t *testing.T) { with, through = consult(t, bin, `up = "4Mbit"`) })
	t.Logf("round trip beside a backup: %v without a queue, %v with; the backup got %.1f and %.1f Mbit/s",
		without.Round(100*time.Microsecond), with.Round(100*time.Microsecond), through0, through)
	if with > without {
		t.Errorf("round trip of %v beside a backup with a queue, want less than %v without", with, without)
	}
	if through < 1 {
		t.Errorf("the backup got %.1f Mbit/s of 4, want what nobody else uses", through)
	}
}

// consult measures the median round trip of small clinical packets beside a bulk
// upload over provider A, whose modem has a long queue and 5 Mbit/s.
func consult(t *testing.T, bin, key string) (time.Duration, float64) {
	w := up(t, bin, func(site string) string {
		return strings.Replace(site, `method = "dhcp" `, key+"\nmethod = \"dhcp\" ", 1) + `
[net.class.clinical]
match = [{ service = "udp/7500" }]
[net.class.bulk]
match = [{ service = "tcp/7001" }]
`
	})
	w.run(w.ispA, "tc", "qdisc", "add", "dev", "up", "root", "tbf", "rate", "5mbit", "burst", "4kb", "latency", "400ms")
	w.must(w.hub.Addr("eth0", "192.0.2.3/24"))
	w.echo(w.hub, "192.0.2.3:7001")
	s := w.stream(w.pc, w.hub, "192.0.2.3:7500")
	c, err := w.pc.DialContext(t.Context(), "tcp4", "192.0.2.3:7001")
	w.must(err)
	defer c.Close()
	go func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	// What comes until it has filled what there is to fill is not counted.
	begin, got := time.Now().Add(1500*time.Millisecond), 0
	for buf := make([]byte, 64<<10); time.Since(begin) < 3*time.Second; {
		n, err := c.Read(buf)
		w.must(err)
		if time.Now().After(begin) {
			got += n
		}
	}
	took := time.Since(begin)
	if n := w.await("A in use still", func(n *wire.Net) bool { return true }); n.Active != "isp-a" {
		t.Fatalf("active: %s", n.Active)
	}
	return s.median(begin, time.Now()), float64(got) * 8 / took.Seconds() / 1e6
}

// median is that of the round trips of what was sent in a time; what was lost or is
// still on its way took as long as it has by now.
func (s *stream) median(from, to time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []time.Duration
	for i, at := range s.sent {
		switch {
		case at.Before(from) || at.After(to):
		case s.back[i].IsZero():
			all = append(all, time.Since(at))
		default:
			all = append(all, s.back[i].Sub(at))
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}
