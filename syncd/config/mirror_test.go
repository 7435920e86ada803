package config

import (
	"strings"
	"testing"
	"time"
)

func TestMirror(t *testing.T) {
	const good = "[sync.mirror]\nlisten = \"10.77.0.1:7790\"\npeer = \"10.77.0.2:7790\"\nwait = \"3s\"\nalone = \"refuse\"\n"
	cfg, err := parse(example(t) + "\n" + good)
	if err != nil {
		t.Fatal(err)
	}
	if m := cfg.Mirror; m == nil || m.Port != "ha" || m.Listen.String() != "10.77.0.1:7790" || m.Peer.String() != "10.77.0.2:7790" || m.Wait != 3*time.Second || !m.Refuse {
		t.Errorf("got %+v", m)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"itself":      {"10.77.0.2", "10.77.0.1", "sync.mirror.peer: got this box's own address 10.77.0.1"},
		"no port":     {"10.77.0.1:7790", "10.77.0.1", `sync.mirror.listen: got "10.77.0.1"`},
		"no address":  {"10.77.0.2:7790", "peer:7790", `sync.mirror.peer: got "peer:7790"`},
		"policy":      {"refuse", "maybe", `sync.mirror.alone: got "maybe", want "acknowledge" or "refuse"`},
		"no patience": {"3s", "1ms", "sync.mirror.wait: got 1ms"},
		"device":      {"wait", "port = \"../x\"\nwait", `sync.mirror.port: got "../x"`},
	} {
		if _, err := parse(example(t) + "\n" + strings.Replace(good, c.old, c.new, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if cfg, err = parse(example(t)); err != nil || cfg.Mirror != nil {
		t.Errorf("without the section: %+v, %v", cfg.Mirror, err)
	}
}
