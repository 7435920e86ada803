package deb

import (
	"os/exec"
	"testing"

	"clinicgate/firmware/lab"
)

var versions = []string{
	"1.0", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1", "1.0~rc1-1", "1:0.9", "2.36-9+deb12u14", "2.36-9+deb12u4", "252.39-1~deb12u2", "252.39-1",
	"01.0", "1.0.0", "1a", "1+", "1~", "1~~", "0", "6.1.192-2", "6.1.99-1", "1.10.1-3", "1.9.1-3", "999999999999999999999-1",
}

// dpkg itself is the judge.
func TestCompareIsDpkgs(t *testing.T) {
	lab.Require(t, lab.Program("dpkg"))
	for i, a := range versions {
		b := versions[(i*7+3)%len(versions)]
		for _, c := range [][2]string{{a, b}, {b, a}, {a, a}} {
			want := 0
			if exec.Command("dpkg", "--compare-versions", c[0], "lt", c[1]).Run() == nil {
				want = -1
			} else if exec.Command("dpkg", "--compare-versions", c[0], "gt", c[1]).Run() == nil {
				want = 1
			}
			if got := Compare(c[0], c[1]); got != want {
				t.Errorf("%s against %s: got %d, dpkg says %d", c[0], c[1], got, want)
			}
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1:1.0~rc1-2", "1.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		if Compare(a, b) != -Compare(b, a) || Compare(a, a) != 0 {
			t.Errorf("%q against %q is no order", a, b)
		}
	})
}
