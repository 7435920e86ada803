package apply

import (
	"os/exec"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/netd/plan"
)

func tc(t *testing.T, args ...string) string {
	t.Helper()
	lab.Require(t, lab.Program("tc"))
	out, err := exec.Command("tc", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("tc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestQueue: a queue is made, is right at the second look, follows another rate, and
// goes; somebody else's stays.
func TestQueue(t *testing.T) {
	fresh(t)
	c := example(t)
	c.Uplinks[0].Up = 10_000_000
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	res := apply(t, plan.Make(c, ups, 0))
	if !strings.Contains(strings.Join(res.Changes, "\n"), "add queue dev wan1 rate 9500kbit") {
		t.Errorf("changes: %q", res.Changes)
	}
	classes := tc(t, "class", "show", "dev", "wan1")
	for _, want := range []string{"class htb 71:1 root rate 9500Kbit ceil 9500Kbit", "71:10 parent 71:1", "prio 0 rate 4750Kbit ceil 9500Kbit", "prio 1 rate 3325Kbit", "prio 2 rate 1425Kbit"} {
		if !strings.Contains(classes, want) {
			t.Errorf("%q is not in:\n%s", want, classes)
		}
	}
	if res := apply(t, plan.Make(c, ups, 0)); len(res.Changes) > 0 {
		t.Errorf("second time changed %q", res.Changes)
	}
	c.Uplinks[0].Up = 40_000_000
	apply(t, plan.Make(c, ups, 0))
	if got := tc(t, "class", "show", "dev", "wan1"); !strings.Contains(got, "71:1 root rate 38Mbit ceil 38Mbit") || strings.Contains(got, "9500Kbit") {
		t.Errorf("after another rate:\n%s", got)
	}
	c.Uplinks[0].Up = 0
	apply(t, plan.Make(c, ups, 0))
	if got := tc(t, "qdisc", "show", "dev", "wan1"); strings.Contains(got, "htb") {
		t.Errorf("it stays:\n%s", got)
	}
	tc(t, "qdisc", "add", "dev", "wan2", "root", "handle", "5:", "tbf", "rate", "1mbit", "burst", "2kb", "latency", "50ms")
	c.Uplinks[1].Up = 20_000_000
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Apply(plan.Make(c, ups, 0)); err == nil || !strings.Contains(err.Error(), "add queue dev wan2 rate 19000kbit: somebody else's tbf is there") {
		t.Errorf("got %v", err)
	}
	if got := tc(t, "qdisc", "show", "dev", "wan2"); !strings.Contains(got, "qdisc tbf 5: root") {
		t.Errorf("somebody else's is gone:\n%s", got)
	}
}
