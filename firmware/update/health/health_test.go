package health

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func well() Signs {
	return Signs{
		Init: &wire.Init{
			Services: []wire.Service{{Name: "netd", State: wire.ServiceReady}, {Name: "syncd", State: wire.ServiceReady}},
			Slots:    &wire.Slots{Trial: &wire.Trial{Tunnel: true}},
		},
		Net:  &wire.Net{Uplinks: []wire.Uplink{{Name: "isp-a", State: wire.UplinkUp}}, Tunnels: []wire.Tunnel{{State: wire.TunnelUp}}},
		Sync: &wire.Sync{}, Card: &wire.Card{},
	}
}

func TestSigns(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Signs)
		verdict Verdict // when patience has ended
		why     string
	}{
		"well":                {func(*Signs) {}, Well, ""},
		"a program not ready": {func(s *Signs) { s.Init.Services[1].State = wire.ServiceBackoff }, Failed, "does not bring up syncd: backoff"},
		"netd mute":           {func(s *Signs) { s.Net = nil }, Failed, "netd that publishes nothing"},
		"cardauth mute":       {func(s *Signs) { s.Card = nil }, Failed, "cardauth that publishes nothing"},
		"syncd mute":          {func(s *Signs) { s.Sync = nil }, Failed, "syncd that publishes nothing"},
		"the queue is damaged": {func(s *Signs) {
			s.Sync.Faults = []wire.Fault{{ID: "queue.damaged", Severity: wire.Alarm, What: "a hole"}}
		}, Failed, "queue: a hole"},
		"an alarm of the world":  {func(s *Signs) { s.Sync.Faults = []wire.Fault{{ID: "destination.refuses", Severity: wire.Alarm}} }, Well, ""},
		"no tunnel, good uplink": {func(s *Signs) { s.Net.Tunnels[0].State = wire.TunnelDown }, Failed, "though uplink isp-a works"},
		"no uplink": {func(s *Signs) {
			s.Net.Tunnels[0].State, s.Net.Uplinks[0].State = wire.TunnelDown, wire.UplinkDown
		}, World, "no uplink that works"},
		"there was no tunnel before": {func(s *Signs) {
			s.Net.Tunnels[0].State, s.Init.Slots.Trial.Tunnel = wire.TunnelDown, false
		}, Well, ""},
		"init mute": {func(s *Signs) { s.Init = nil }, Failed, "does not say which programs run"},
	} {
		t.Run(name, func(t *testing.T) {
			s := well()
			c.change(&s)
			var trial Trial
			now := time.Unix(1e9, 0)
			if v, _ := trial.Judge(s, now); v != Wait {
				t.Errorf("at once: %s", v)
			}
			if v, why := trial.Judge(s, now.Add(Patience)); v != c.verdict || !strings.Contains(why, c.why) {
				t.Errorf("in the end: %s, %q, want %s, %q", v, why, c.verdict, c.why)
			}
		})
	}
}

func TestCrashLoopNeedsNoPatience(t *testing.T) {
	s := well()
	s.Init.Services[0].Restarts, s.Init.Services[0].LastExit = 9, "signal: terminated"
	var trial Trial
	if v, why := trial.Judge(s, time.Unix(1e9, 0)); v != Wait {
		t.Errorf("restarts that were asked for: got %s, %q", v, why)
	}
	s.Init.Services[0].Crashes, s.Init.Services[0].LastExit = 3, "exit status 2"
	if v, why := trial.Judge(s, time.Unix(1e9, 0)); v != Failed || why != "has netd end again and again, last with exit status 2" {
		t.Errorf("got %s, %q", v, why)
	}
}

// Well means well without a break.
func TestSteady(t *testing.T) {
	var trial Trial
	now := time.Unix(1e9, 0)
	bad := well()
	bad.Init.Services[0].State = wire.ServiceStarting
	for _, step := range []struct {
		after time.Duration
		signs Signs
		want  Verdict
	}{
		{0, well(), Wait}, {Steady - 1, well(), Wait}, {time.Second, bad, Wait},
		{time.Second, well(), Wait}, {Steady - 1, well(), Wait}, {1, well(), Well},
	} {
		now = now.Add(step.after)
		if v, why := trial.Judge(step.signs, now); v != step.want {
			t.Errorf("at %v: %s (%s), want %s", now.Sub(time.Unix(1e9, 0)), v, why, step.want)
		}
	}
}
