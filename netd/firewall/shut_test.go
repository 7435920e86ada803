package firewall

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestShut: a box without rules denies all but the little, and the next Install
// leaves nothing of that.
func TestShut(t *testing.T) {
	zoned, prefixes := zones(t)
	fresh(t)
	for range 2 {
		if err := Shut(t.Context(), zoned); err != nil {
			t.Fatal(err)
		}
		got := saved(t)
		for _, line := range []string{
			":INPUT DROP", ":FORWARD DROP", "-A INPUT -j cg-input\n", "-A cg-input -i lo -j ACCEPT", "-A cg-input -i lan -p icmp -j ACCEPT",
			"-A cg-input -i svc -p tcp -m tcp --dport 443 -j ACCEPT", "-A cg-input -i lan -p ipv6-icmp -j ACCEPT",
			"-A cg-input -d 224.0.0.18/32 -i lan -p 112 -j ACCEPT",
		} {
			if !strings.Contains(got, line) {
				t.Errorf("%q is not in:\n%s", line, got)
			}
		}
		if strings.Count(got, "-A INPUT") != 2 || strings.Contains(got, "8443") || strings.Contains(got, "wan") {
			t.Errorf("got:\n%s", got)
		}
	}
	if err := Install(t.Context(), zoned, prefixes); err != nil {
		t.Fatal(err)
	}
	after := saved(t)
	if err := Shut(t.Context(), zoned); err != nil {
		t.Fatal(err)
	}
	if got := saved(t); got != after || strings.Contains(got, "-A cg-input -i lan") || !strings.Contains(got, "-A cg-input -j cg-1-input") {
		t.Errorf("got:\n%s\nwant:\n%s", got, after)
	}
}

// TestShutLittle: a kernel that refuses even the little is shut without it, and
// one that refuses all is said to be open.
func TestShutLittle(t *testing.T) {
	c, _ := zones(t)
	for _, rest := range []bool{true, false} {
		var fed []string
		f := &family{name: "iptables", program: func(_ context.Context, _, in string) (string, error) {
			if fed = append(fed, in); !rest || strings.Contains(in, "dport") {
				return "", errors.New("refused")
			}
			return "", nil
		}}
		err := f.shut(t.Context(), book{c: c})
		if (err == nil) != rest || len(fed) != 2 {
			t.Errorf("got %v after %q", err, fed)
		}
		want := "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:cg-input - [0:0]\n-A cg-input -i lo -j ACCEPT\n-I INPUT 1 -j cg-input\nCOMMIT\n"
		if !slices.Contains(fed, want) {
			t.Errorf("got %q", fed)
		}
	}
}
