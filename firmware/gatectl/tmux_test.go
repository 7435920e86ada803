package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// tmux is a terminal as technicians have one.
type tmux struct {
	t      *testing.T
	socket string
}

func (m tmux) do(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", m.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// wait waits until the terminal shows all of these words.
func (m tmux) wait(words ...string) {
	m.t.Helper()
	shown, missing := "", ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		shown, missing = m.do("capture-pane", "-p"), ""
		for _, w := range words {
			if !strings.Contains(shown, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
	}
	m.t.Fatalf("never showed %q; there is\n%s", missing, shown)
}

// The console as people use it: in a terminal that is resized, on a slow line, and
// on one that can't show a screen; SIGTERM, as init sends it, ends it in order.
func TestConsoleInATerminal(t *testing.T) {
	lab.Require(t, lab.Program("tmux", "stty", "pkill"))
	for kind, prompt := range map[string]string{"vt100": " Choose:", "dumb": "clinicgate>"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			m := tmux{t, filepath.Join(dir, "tmux")}
			site := filepath.Join(dir, "site.toml")
			if err := os.WriteFile(site, []byte("[site]\nname = \"Lab\"\ncode = \"lab\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			m.do("new-session", "-d", "-x", "80", "-y", "24", "stty 9600; TERM="+kind+" gatectl console --run "+dir+" --site "+site+"; echo ended with $?; sleep 600")
			t.Cleanup(func() { exec.Command("tmux", "-S", m.socket, "kill-server").Run() })
			m.wait(" clinicgate  Lab (lab)", "STATUS   NEEDS HELP", prompt)
			m.do("resize-window", "-x", "60", "-y", "18")
			m.do("send-keys", "lines", "Enter")
			m.wait("no line is known")
			m.do("send-keys", "b", "Enter")
			m.wait(prompt)
			pid := strings.TrimSpace(m.do("display-message", "-p", "#{pane_pid}"))
			if out, err := exec.Command("pkill", "-TERM", "-P", pid).CombinedOutput(); err != nil {
				t.Fatalf("end the console: %v: %s", err, out)
			}
			m.wait("ended with 0")
		})
	}
}
