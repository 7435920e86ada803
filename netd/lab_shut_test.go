package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
)

// restoreShim stands before the programs that change the rules. Its mode is "all":
// nothing can be changed; "rules": nothing that counts or remembers, as in a kernel
// that lacks most; or "none".
const restoreShim = `#!/bin/sh
case $(cat %[1]s/mode) in
all) echo refused: no table >&2; exit 1 ;;
rules) cat >%[1]s/run/shim.$$; if grep -q conntrack %[1]s/run/shim.$$; then rm %[1]s/run/shim.$$; echo refused: no conntrack >&2; exit 1; fi
	%[2]s "$@" <%[1]s/run/shim.$$; code=$?; rm %[1]s/run/shim.$$; exit $code ;;
esac
exec %[2]s "$@"
`

// TestLabShut: a box that can't build its firewall has no address; when it can build
// a little of it, a technician and the pair reach it and nobody else; and when all
// of it, the clinic works, without a restart.
func TestLabShut(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("iptables-restore", "ip6tables-restore"))
	bin := programs(t)
	w := newWorld(t)
	for _, program := range []string{"iptables-restore", "ip6tables-restore"} {
		real := strings.TrimSpace(w.run(w.box, "sh", "-c", "command -v "+program))
		w.must(os.WriteFile(filepath.Join(w.dir, program), fmt.Appendf(nil, restoreShim, w.dir, real), 0o755))
	}
	t.Setenv("PATH", w.dir+":"+os.Getenv("PATH"))
	mode := func(m string) { w.must(os.WriteFile(filepath.Join(w.dir, "mode"), []byte(m+"\n"), 0o644)) }
	mode("all")
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, nil)
	w.echo(w.box, "[::]:8443")
	w.echo(w.hub, "192.0.2.1:80")
	refusal := func(word string) func(*wire.Net) bool {
		return func(n *wire.Net) bool {
			f := fault(n, "firewall.failed")
			return f != nil && strings.Contains(f.What, word)
		}
	}
	w.await("nothing can be changed", refusal("no table"))
	time.Sleep(200 * time.Millisecond)
	if got := w.run(w.box, "ip", "-4", "-o", "addr", "show", "scope", "global"); got != "" {
		t.Errorf("without any rules of its own the box has:\n%s", got)
	}
	mode("rules")
	w.await("a little can be", refusal("no conntrack"))
	w.wait(w.pc, "ping", "-c", "1", "-W", "1", "10.20.0.2")
	for _, to := range []string{"10.20.0.2:8443", "[" + w.linkLocal("lan") + "%eth0]:8443", "192.0.2.1:80"} {
		if reach(w.pc, to, silence) == nil {
			t.Errorf("%s is reached by a box that could not build its firewall", to)
		}
	}
	if got := w.run(w.box, "ip", "-4", "route", "show", "default"); got != "" {
		t.Errorf("an uplink is used: %s", got)
	}
	mode("none")
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && fault(n, "firewall.failed") == nil })
	for _, to := range []string{"10.20.0.2:8443", "192.0.2.1:80"} {
		if err := reach(w.pc, to, answer); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}
