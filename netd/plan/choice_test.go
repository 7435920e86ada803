package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
)

// three is a clinic with uplinks a, b and c of the given roles and states, such as
// "primary up, shared*3 degraded, last-resort down"; "spent" makes one's cap used up.
func three(text string) (config.Config, []Uplink) {
	var c config.Config
	var ups []Uplink
	for i, part := range strings.Split(text, ", ") {
		f := strings.Fields(part)
		role, weight, _ := strings.Cut(f[0], "*")
		u := config.Uplink{Name: string(rune('a' + i)), Port: fmt.Sprintf("wan%d", i+1), Terms: config.Terms{Role: role, Weight: 1, Price: float64(10 - i)}}
		_, _ = fmt.Sscan(weight, &u.Weight) // none is 1
		c.Uplinks = append(c.Uplinks, u)
		up := Uplink{State: f[1], Spent: len(f) > 2}
		if f[1] != wire.UplinkNoAddress {
			up.Address, up.Gateway = netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", 100+i)), netip.MustParseAddr("192.0.2.1")
		}
		ups = append(ups, up)
	}
	return c, ups
}

func show(c config.Config, shares []Share) string {
	var parts []string
	for _, s := range shares {
		parts = append(parts, fmt.Sprintf("%s*%d", c.Uplinks[s.Uplink].Name, s.Weight))
	}
	return strings.Join(parts, " ")
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		ups     string
		current int
		want    string
		active  int
	}{
		{"primary up, primary up", 1, "a*1", 0},
		{"primary down, primary up", 0, "b*1", 1},
		{"primary degraded, primary up", 0, "b*1", 1},
		{"primary degraded, primary degraded", 1, "b*1", 1},
		{"primary degraded, primary degraded", -1, "a*1", 0},
		{"primary down, primary degraded", 0, "b*1", 1},
		{"primary down, primary nolink", 0, "", 0},
		{"primary noaddress, primary down", 0, "", 1},
		{"primary captive, primary down", -1, "", 0},
		{"primary up, shared up", -1, "a*1 b*1", 0},
		{"shared*3 up, shared up", -1, "a*3 b*1", 0},
		{"shared*3 up, primary*2 up, shared up", -1, "b*2 a*3 c*1", 1},
		{"shared up, shared degraded", 1, "a*1", 0},
		{"primary up, last-resort up", 1, "a*1", 0},
		{"primary degraded, last-resort up", 1, "a*1", 0},
		{"primary down, last-resort up", 0, "b*1", 1},
		{"primary down, last-resort up, last-resort up", 0, "c*1", 2},       // the cheaper one
		{"primary down, last-resort up, last-resort degraded", 0, "b*1", 1}, // works better
		{"primary up spent, shared up", 0, "b*1", 1},                        // its cap is used up
		{"primary up spent, primary down", 0, "a*1", 0},                     // better than nothing
		{"primary up spent, last-resort up", 0, "b*1", 1},                   // the cheaper one
		{"primary noaddress, primary up, last-resort up", -1, "b*1", 1},
	} {
		cfg, ups := three(c.ups)
		if got := show(cfg, Shares(cfg, ups, c.current)); got != c.want {
			t.Errorf("%s, current %d: got %q, want %q", c.ups, c.current, got, c.want)
		}
		if got := Active(cfg, ups, c.current); got != c.active {
			t.Errorf("%s, current %d: active %d, want %d", c.ups, c.current, got, c.active)
		}
	}
}

func TestClassShares(t *testing.T) {
	for _, c := range []struct {
		ups  string
		list []int
		how  string
		want string // "own": refused; "": as the roles say
	}{
		{"primary up, primary up", nil, "", ""},
		{"primary up, primary up", []int{1, 0}, "", "b*1"},
		{"primary up, primary down", []int{1, 0}, "", "a*1"},
		{"primary up, primary degraded", []int{1, 0}, "", "a*1"},
		{"primary up, primary down", []int{1}, "", ""},
		{"primary up, primary down", []int{1}, "strict", "own"},
		{"primary*2 up, primary up", []int{0, 1}, "spread", "a*2 b*1"},
		{"primary*2 up, primary degraded", []int{0, 1}, "spread", "a*2"},
		{"primary up spent, primary degraded", []int{0, 1}, "", "b*1"},
		{"primary up, last-resort up", []int{1, 0}, "", "b*1"},
	} {
		cfg, ups := three(c.ups)
		shares, own := ClassShares(cfg, config.Class{Uplinks: c.list, Spread: c.how == "spread", Strict: c.how == "strict"}, ups)
		got := show(cfg, shares)
		if own && len(shares) == 0 {
			got = "own"
		}
		if got != c.want || own != (c.want != "") {
			t.Errorf("%s by %v %s: got %q, own %v, want %q", c.ups, c.list, c.how, got, own, c.want)
		}
	}
}
