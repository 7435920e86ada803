package config

import (
	"net/netip"
	"strings"
	"testing"
)

// The uplink on whose port the pair has an address bears it; nothing else does.
func TestPaired(t *testing.T) {
	const group = "[[pair.group]]\nname = \"isp-b\"\nvrid = 21\nport = \"wan2\"\naddresses = [\"198.51.100.10/24\", \"198.51.100.11/24\"]\n"
	want := Paired{Group: "isp-b", Address: netip.MustParseAddr("198.51.100.10")}
	for name, c := range map[string]struct {
		text string
		want Paired
	}{
		"none":          {"", Paired{}},
		"one":           {group, want},
		"the first":     {group + strings.Replace(strings.Replace(group, "21", "22", 1), "isp-b", "other", 1), want},
		"another port":  {strings.Replace(group, "wan2", "svc", 1), Paired{}},
		"IPv6":          {strings.Replace(group, "198.51.100.10/24", "fe80::1/64", 1), Paired{}},
		"no address":    {strings.Replace(group, "198.51.100.10/24", "gopher", 1), Paired{}},
		"no host's":     {strings.Replace(group, "198.51.100.10/24", "224.0.0.1/24", 1), Paired{}},
		"a number":      {strings.Replace(group, `["198.51.100.10/24", "198.51.100.11/24"]`, "3", 1), Paired{}},
		"of IPv6 first": {strings.Replace(strings.Replace(group, "198.51.100.10/24", "fe80::1/64", 1), "isp-b", "six", 1) + group, want},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := parse(example(t) + c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := conf.Uplinks[1].Paired; got != c.want || conf.Uplinks[0].Paired != (Paired{}) {
				t.Errorf("got %+v and %+v, want %+v for the second", conf.Uplinks[0].Paired, got, c.want)
			}
		})
	}
}
