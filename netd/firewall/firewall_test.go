package firewall

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
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

// TestGolden shows the rules of sites as iptables-restore reads them.
func TestGolden(t *testing.T) {
	first := func(chain) bool { return true }
	v4, v6 := rules(example(t), false).chains(), rules(example(t), true).chains()
	zoned, prefixes := zones(t)
	for file, got := range map[string]string{
		"testdata/example.rules": build(v4, 1) + turn(v4, 1, first) + "# IPv6\n" + build(v6, 1),
		"testdata/zones.rules":   build(book{c: zoned, proxy: true}.chains(), 1),
		"testdata/zones-6.rules": build(book{c: zoned, six: true, prefixes: prefixes, proxy: true}.chains(), 1),
		"testdata/removed.rules": drop(map[string][]string{"filter": {"cg-1-input", "cg-1-in-lan"}, "raw": {"cg-1-raw-prerouting"}}),
		"testdata/nothing.rules": turn(v4, 0, func(chain) bool { return false }),
	} {
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
}

func rules(c config.Config, six bool) book { return book{c: c, six: six} }

// zones is the example with every kind of zone, IPv6 by both providers, and a
// service open to anyone.
func zones(t *testing.T) (config.Config, []netip.Prefix) {
	t.Helper()
	c := example(t)
	c.Firewall.WAN = append(c.Firewall.WAN, config.Service{Proto: "tcp", Port: 9999})
	c.Six.Local = netip.MustParsePrefix("fd5a:1c3e:9b20::/48")
	c.Uplinks[0].Six.Method, c.Uplinks[1].Six.Method = config.SixAuto, config.SixStatic
	c.Zones[0].Reaches = []string{"devices"}
	for i, z := range []config.Zone{
		{Name: "devices", Kind: config.KindDevices, Port: "lan.30", Serves: []config.Service{{Proto: "icmp"}, {Proto: "tcp", Port: 8883}}},
		{Name: "guests", Kind: config.KindGuests, Port: "lan.40"},
		{Name: "technician", Kind: config.KindService, Port: "svc"},
	} {
		z.Address, z.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, byte(30 + 10*i), 2}), 24), i+1
		c.Zones = append(c.Zones, z)
	}
	return c, []netip.Prefix{netip.MustParsePrefix("2001:db8:a00::/56"), {}}
}

// fresh puts the test into a network namespace of its own, which ends with it.
func fresh(t *testing.T) {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("iptables", "iptables-save", "ip6tables-save"))
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	// The box has none of these, so rules must not need them.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	for _, file := range []string{"/etc/protocols", "/etc/services", "/etc/networks"} {
		if _, missing := os.Stat(file); missing == nil && err == nil {
			err = unix.Mount("/dev/null", file, "", unix.MS_BIND, "")
		}
	}
	if err != nil {
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
	if err := Install(t.Context(), example(t), nil); err != nil {
		t.Fatal(err)
	}
	first := saved(t)
	for _, line := range []string{
		":INPUT DROP", ":FORWARD DROP", "-A INPUT -j cg-input", "-A cg-input -j cg-1-input",
		"-A cg-1-input -s 10.20.0.0/24 -i lan -j cg-1-in-lan", "-A cg-1-in-lan -p tcp -m tcp --dport 8443 -j ACCEPT",
		"-A cg-1-raw-prerouting -i lan -j DROP",
		"-A cg-1-nat-postrouting -o wan2 -j MASQUERADE",
	} {
		if !strings.Contains(first, line) {
			t.Errorf("%q is not in:\n%s", line, first)
		}
	}
	if err := Install(t.Context(), example(t), nil); err != nil {
		t.Fatal(err)
	}
	if second := saved(t); anyGeneration(second) != anyGeneration(first) || strings.Contains(second, "cg-1-") {
		t.Errorf("got:\n%s\nwant, but for the generation:\n%s", second, first)
	}
}

// TestMends: a jump and a policy that someone took away come back.
func TestMends(t *testing.T) {
	fresh(t)
	if err := Install(t.Context(), example(t), nil); err != nil {
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
	if err := Install(t.Context(), example(t), nil); err != nil {
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
		if err := Install(t.Context(), example(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := saved(t); !strings.Contains(got, "-A INPUT -j cg-input\n-A INPUT -s 203.0.113.9/32 -j ACCEPT\n") || !strings.Contains(got, ":someone") {
		t.Errorf("got:\n%s", got)
	}
}

// TestFailureLeavesOldStanding: a generation with a rule that the kernel or the
// program refuses, in any chain of either family, changes nothing in both.
func TestFailureLeavesOldStanding(t *testing.T) {
	fresh(t)
	zoned, prefixes := zones(t)
	if err := Install(t.Context(), zoned, prefixes); err != nil {
		t.Fatal(err)
	}
	before := saved(t)
	for which := range 2 {
		for i := range (book{c: zoned, six: which == 0, prefixes: prefixes}).chains() {
			families := both(t, zoned, prefixes)
			bad := &families[which].chains[i]
			bad.rules = append(bad.rules, "-j cg-no-such-chain")
			if err := swap(t.Context(), families); err == nil || !strings.Contains(err.Error(), "cg-no-such-chain") {
				t.Errorf("bad rule in %s of %s: got %v", bad.key(), families[which].name, err)
			}
			if after := saved(t); after != before {
				t.Fatalf("bad rule in %s of %s: got:\n%s\nwant:\n%s", bad.key(), families[which].name, after, before)
			}
		}
	}
}

func both(t *testing.T, c config.Config, prefixes []netip.Prefix) []*family {
	t.Helper()
	var families []*family
	for _, six := range []bool{true, false} {
		f, err := open(t.Context(), six)
		if err != nil {
			t.Fatal(err)
		}
		f.chains = book{c: c, six: six, prefixes: prefixes}.chains()
		families = append(families, f)
	}
	return families
}

// TestTurnFails: whichever step the kernel refuses, or after whichever the power is
// cut, each family has one whole generation in force; a refusal leaves the old ones
// and a later Install is whole in both.
func TestTurnFails(t *testing.T) {
	zoned, prefixes := zones(t)
	for step := 1; ; step++ {
		done := false
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d, cut %v", step, cut), func(t *testing.T) {
				fresh(t)
				if err := Install(t.Context(), example(t), nil); err != nil {
					t.Fatal(err)
				}
				before := saved(t)
				families := both(t, zoned, prefixes)
				n := 0
				for _, f := range families {
					f.program = func(ctx context.Context, name, in string) (string, error) {
						if n++; n == step || cut && n > step {
							return "", errors.New("refused")
						}
						return program(ctx, name, in)
					}
				}
				err := swap(t.Context(), families)
				if done = err == nil; done {
					return
				}
				after := saved(t)
				if step <= 4 && !cut && after != before {
					t.Errorf("got:\n%s\nwant:\n%s", after, before)
				}
				for _, f := range both(t, zoned, prefixes) {
					if f.force == 0 {
						t.Errorf("%s: no generation is in force:\n%s", f.name, after)
					}
				}
				if err := Install(t.Context(), example(t), nil); err != nil {
					t.Fatal(err)
				}
				if mended := saved(t); anyGeneration(mended) != anyGeneration(before) {
					t.Errorf("mended:\n%s\nwant:\n%s", mended, before)
				}
			})
		}
		if done {
			if step < 5 {
				t.Errorf("%d steps, want at least two builds and two turns", step-1)
			}
			return
		}
	}
}
