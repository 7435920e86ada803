package firewall

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/site"
	"clinicgate/netd/config"

	"github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"
)

var rewrite = flag.Bool("rewrite", false, "write the rules into testdata")

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
	c.Firewall.WAN = []config.Service{{Proto: "udp", Port: 4500}}
	return c
}

// TestGolden shows the example site's rules as iptables-restore reads them.
func TestGolden(t *testing.T) {
	const file = "testdata/example.rules"
	chains := rules4(example(t))
	got := build(chains, 1) + turn(chains, 1, true) + "# IPv6\n" + build(rules6(), 1)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, got, want)
	}
}

// fresh puts the test into a network namespace of its own, which ends with it.
func fresh(t *testing.T) {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("iptables", "iptables-save", "ip6tables-save"))
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// saved is the kernel's own listing, without what changes by itself.
func saved(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		out, err := exec.Command(program).Output()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(out)
	}
	text := regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`).ReplaceAllString(all.String(), "")
	return text
}

// anyGeneration hides which generation is in force.
func anyGeneration(text string) string {
	return regexp.MustCompile(`cg-\d+-`).ReplaceAllString(text, "cg-N-")
}

func TestInstallTwice(t *testing.T) {
	fresh(t)
	if err := Install(t.Context(), example(t)); err != nil {
		t.Fatal(err)
	}
	first := saved(t)
	for _, line := range []string{
		":INPUT DROP", ":FORWARD DROP", "-A INPUT -j cg-input", "-A cg-input -j cg-1-input",
		"-A cg-1-input -s 10.20.0.0/24 -i lan -p tcp -m tcp --dport 8443 -j ACCEPT",
		"-A cg-1-nat-postrouting -o wan2 -j MASQUERADE",
	} {
		if !strings.Contains(first, line) {
			t.Errorf("%q is not in:\n%s", line, first)
		}
	}
	if err := Install(t.Context(), example(t)); err != nil {
		t.Fatal(err)
	}
	if second := saved(t); anyGeneration(second) != anyGeneration(first) || strings.Contains(second, "cg-1-") {
		t.Errorf("got:\n%s\nwant, but for the generation:\n%s", second, first)
	}
}

// TestMends: a jump and a policy that someone took away come back.
func TestMends(t *testing.T) {
	fresh(t)
	if err := Install(t.Context(), example(t)); err != nil {
		t.Fatal(err)
	}
	want := saved(t)
	ipt, err := iptables.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ipt.Delete("filter", "INPUT", "-j", "cg-input"), ipt.Delete("nat", "POSTROUTING", "-j", "cg-nat-postrouting"),
		ipt.ChangePolicy("filter", "FORWARD", "ACCEPT")); err != nil {
		t.Fatal(err)
	}
	if err := Install(t.Context(), example(t)); err != nil {
		t.Fatal(err)
	}
	if got := saved(t); anyGeneration(got) != anyGeneration(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestForeignRulesStay: others' chains and rules survive, and ours come first.
func TestForeignRulesStay(t *testing.T) {
	fresh(t)
	ipt, err := iptables.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := ipt.Append("filter", "INPUT", "-s", "203.0.113.9", "-j", "ACCEPT"); err != nil {
		t.Fatal(err)
	}
	if err := ipt.NewChain("filter", "someone"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Install(t.Context(), example(t)); err != nil {
			t.Fatal(err)
		}
	}
	if got := saved(t); !strings.Contains(got, "-A INPUT -j cg-input\n-A INPUT -s 203.0.113.9/32 -j ACCEPT\n") || !strings.Contains(got, ":someone") {
		t.Errorf("got:\n%s", got)
	}
}

// TestFailureLeavesOldStanding: a generation with a rule the kernel or the program
// refuses, in any table, changes nothing.
func TestFailureLeavesOldStanding(t *testing.T) {
	fresh(t)
	if err := Install(t.Context(), example(t)); err != nil {
		t.Fatal(err)
	}
	before := saved(t)
	for i := range rules4(example(t)) {
		bad := rules4(example(t))
		bad[i].rules = append(bad[i].rules, "-j cg-no-such-chain")
		f := family{iptables.ProtocolIPv4, "iptables-restore", bad}
		if err := f.install(t.Context()); err == nil || !strings.Contains(err.Error(), "cg-no-such-chain") {
			t.Errorf("bad rule in %s: got %v", bad[i].key(), err)
		}
		if after := saved(t); after != before {
			t.Errorf("bad rule in %s: got:\n%s\nwant:\n%s", bad[i].key(), after, before)
		}
	}
}
