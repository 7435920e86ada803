package apply

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/site"
	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/plan"

	"golang.org/x/sys/unix"
)

// fresh puts the test into a network namespace of its own. The thread is never
// unlocked, so it ends with the test and takes the namespace along; programs the
// test starts are in the namespace too.
func fresh(t *testing.T) {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("ip"))
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for _, dev := range []string{"wan1", "wan2", "lan", "cg-hub"} {
		ip(t, "link", "add", dev, "type", "veth", "peer", "name", "p-"+dev)
		ip(t, "link", "set", "p-"+dev, "up")
	}
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// listing is the kernel's own words about everything apply may touch. Neighbour
// and carrier states move by themselves and are left out.
func listing(t *testing.T) string {
	t.Helper()
	return ip(t, "-4", "-o", "addr") + ip(t, "-4", "rule") + ip(t, "-4", "route", "show", "table", "all")
}

func example(t *testing.T) config.Config {
	t.Helper()
	data, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := site.Parse("site.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func up(prefix, gw string) plan.Uplink {
	return plan.Uplink{State: wire.UplinkUp, Address: netip.MustParsePrefix(prefix), Gateway: netip.MustParseAddr(gw)}
}

func apply(t *testing.T, want plan.Kernel) Result {
	t.Helper()
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	res, err := k.Apply(want)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestTwiceChangesNothing(t *testing.T) {
	fresh(t)
	c := example(t)
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	want := plan.Make(c, ups, 0)
	if res := apply(t, want); len(res.Changes) < 15 || len(res.Missing) > 0 {
		t.Errorf("first time: %+v", res)
	}
	before := listing(t)
	if res := apply(t, want); len(res.Changes) > 0 {
		t.Errorf("second time changed %q", res.Changes)
	}
	if after := listing(t); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
	for _, line := range []string{
		"default via 100.64.1.1 dev wan1 proto 71 src 100.64.1.100 metric 71 onlink",
		"default via 198.51.100.1 dev wan2 table 7101 proto 71 src 198.51.100.2 onlink",
		"unreachable 10.98.0.0/16 proto 71 metric 4000000000",
		"7000:\tfrom all lookup main suppress_prefixlength 0 proto 71",
		"7101:\tfrom all fwmark 0x20000/0xff0000 lookup 7101 proto 71",
		"7200:\tfrom 100.64.1.100 lookup 7100 proto 71",
	} {
		if !strings.Contains(before, line) {
			t.Errorf("%q is not in:\n%s", line, before)
		}
	}
	if strings.Contains(before, "100.64.1.0/24 dev wan1 proto kernel") {
		t.Errorf("the provider's network is in main:\n%s", before)
	}
}

// TestAddRemovesNothing: a netd that starts does not know yet what it will.
func TestAddRemovesNothing(t *testing.T) {
	fresh(t)
	c := example(t)
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	apply(t, plan.Make(c, ups, 0))
	before := listing(t)
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if res, err := k.Add(plan.Make(c, make([]plan.Uplink, 2), -1)); err != nil || len(res.Changes) > 0 {
		t.Errorf("got %+v, %v", res, err)
	}
	if after := listing(t); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
}

// TestFailover: only the default route moves, in place, and back again.
func TestFailover(t *testing.T) {
	fresh(t)
	c := example(t)
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	apply(t, plan.Make(c, ups, 0))
	before := listing(t)
	ups[0].State = wire.UplinkDown
	res := apply(t, plan.Make(c, ups, 1))
	want := []string{"replace route default via 198.51.100.1 dev wan2 table 254 src 198.51.100.2 metric 71 onlink"}
	if !slices.Equal(res.Changes, want) {
		t.Errorf("got %q, want %q", res.Changes, want)
	}
	ups[0].State = wire.UplinkUp
	apply(t, plan.Make(c, ups, 0))
	if after := listing(t); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
}

// TestNewLease: another address in the same network, where the kernel would let
// the old primary address take the new one along.
func TestNewLease(t *testing.T) {
	fresh(t)
	c := example(t)
	b := up("198.51.100.2/24", "198.51.100.1")
	apply(t, plan.Make(c, []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), b}, 0))
	apply(t, plan.Make(c, []plan.Uplink{up("100.64.1.101/24", "100.64.1.1"), b}, 0))
	got := listing(t)
	if strings.Contains(got, "100.64.1.100") || strings.Count(got, "100.64.1.101") < 4 {
		t.Errorf("after a new lease:\n%s", got)
	}
	apply(t, plan.Make(c, []plan.Uplink{{State: wire.UplinkNoAddress}, b}, 1))
	if got := listing(t); strings.Contains(got, "100.64.1.1") {
		t.Errorf("after the lease ran out:\n%s", got)
	}
}

// TestForeignStateStays: what others made survives, even where it looks like ours.
func TestForeignStateStays(t *testing.T) {
	fresh(t)
	ip(t, "link", "set", "lan", "up")
	ip(t, "addr", "add", "10.20.0.1/24", "dev", "lan")
	ip(t, "route", "add", "203.0.113.0/24", "dev", "lan", "proto", "static")
	ip(t, "route", "add", "default", "dev", "lan", "metric", "9")
	ip(t, "route", "add", "default", "dev", "lan", "table", "7100", "metric", "9")
	ip(t, "rule", "add", "from", "10.20.0.9", "lookup", "7100", "priority", "7100")
	foreign := []string{"10.20.0.1/24", "203.0.113.0/24 dev lan proto static", "default dev lan scope link metric 9", "from 10.20.0.9 lookup 7100"}
	c := example(t)
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), {State: wire.UplinkNoLink}}
	apply(t, plan.Make(c, ups, 0))
	apply(t, plan.Kernel{})
	got := listing(t)
	for _, line := range foreign {
		if !strings.Contains(got, line) {
			t.Errorf("%q is gone:\n%s", line, got)
		}
	}
	if strings.Contains(got, "proto 71") || strings.Contains(got, ":cg") {
		t.Errorf("ours is still there:\n%s", got)
	}
}

// TestRouteInTheWay: someone else's route with our key is reported, not replaced.
func TestRouteInTheWay(t *testing.T) {
	fresh(t)
	ip(t, "link", "set", "lan", "up")
	ip(t, "route", "add", "default", "dev", "lan", "metric", "71")
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), {State: wire.UplinkNoLink}}
	_, err = k.Apply(plan.Make(example(t), ups, 0))
	if err == nil || !strings.Contains(err.Error(), "add route default via 100.64.1.1 dev wan1 table 254") {
		t.Errorf("got %v", err)
	}
	if got := listing(t); !strings.Contains(got, "default dev lan scope link metric 71") || !strings.Contains(got, "7100:\tfrom all fwmark") {
		t.Errorf("got:\n%s", got)
	}
}

// TestMissingPort: a port that is not there keeps nothing else back.
func TestMissingPort(t *testing.T) {
	fresh(t)
	ip(t, "link", "del", "wan1")
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	ups[0].State = wire.UplinkNoLink
	res := apply(t, plan.Make(example(t), ups, 1))
	if !slices.Equal(res.Missing, []string{"wan1"}) {
		t.Errorf("missing: got %q", res.Missing)
	}
	if got := listing(t); !strings.Contains(got, "default via 198.51.100.1 dev wan2 proto 71") {
		t.Errorf("got:\n%s", got)
	}
}

// TestPortFlaps: a cable that is loose while a plan is applied is no fault of the
// plan's: what can't be done is done when the port is back.
func TestPortFlaps(t *testing.T) {
	fresh(t)
	c := example(t)
	ups := []plan.Uplink{up("100.64.1.100/24", "100.64.1.1"), up("198.51.100.2/24", "198.51.100.1")}
	want := plan.Make(c, ups, 0)
	flaps := exec.CommandContext(t.Context(), "sh", "-c", "while :; do ip link set wan1 down; ip link set wan1 up; done")
	if err := flaps.Start(); err != nil {
		t.Fatal(err)
	}
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for range 100 {
		if _, err := k.Apply(want); err != nil {
			t.Errorf("while the port flaps: %v", err)
			break
		}
	}
	_ = flaps.Process.Kill() // it runs until then
	_ = flaps.Wait()
	apply(t, want)
	if res := apply(t, want); len(res.Changes) > 0 {
		t.Errorf("the flaps are over, and it still changed %q", res.Changes)
	}
}
