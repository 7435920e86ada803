package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"clinicgate/firmware/site"
)

// withTerms is the example with keys for its uplinks and, at the end, more tables.
func withTerms(t testing.TB, a, b, more string) string {
	t.Helper()
	text := strings.Replace(example(t), `method = "dhcp" `, a+"\nmethod = \"dhcp\" ", 1)
	text = strings.Replace(text, `method  = "static"`, b+"\nmethod = \"static\"", 1)
	return text + more
}

func TestTerms(t *testing.T) {
	c, err := parse(withTerms(t, `role = "shared"
weight = 3
up = "1.5Mbit"
down = "20Mbit"`, `role = "last-resort"
cap = "50GB"
cap_day = 15
price = 2.5
metered = true`, `
[net.class.clinical]
match = [{ from = "10.20.0.60" }, { to = "203.0.113.0/24", service = "tcp/443" }]
uplinks = ["isp-b", "isp-a"]
[net.class.office]
uplinks = ["isp-a"]
strict = true
[net.class.bulk]
match = [{ service = "udp/5000-5100", dscp = 0 }]
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Terms{
		{Role: Shared, Weight: 3, Up: 1_500_000, Down: 20_000_000, CapDay: 1},
		{Role: LastResort, Weight: 1, Cap: 50_000_000_000, CapDay: 15, Price: 2.5},
	} {
		if got := c.Uplinks[i].Terms; got != want {
			t.Errorf("uplink %d: got %+v, want %+v", i, got, want)
		}
	}
	want := []Class{
		{Name: Clinical, Uplinks: []int{1, 0}, Match: []Match{
			{From: netip.MustParsePrefix("10.20.0.60/32"), DSCP: -1},
			{To: netip.MustParsePrefix("203.0.113.0/24"), Proto: "tcp", First: 443, Last: 443, DSCP: -1},
		}},
		{Name: Office, Uplinks: []int{0}, Strict: true},
		{Name: Bulk, Match: []Match{{Proto: "udp", First: 5000, Last: 5100, DSCP: 0}}},
	}
	if !reflect.DeepEqual(c.Classes, want) {
		t.Errorf("got  %+v\nwant %+v", c.Classes, want)
	}
	if got := c.Classes[2].Match[0].String(); got != "udp/5000-5100, dscp 0" {
		t.Errorf("in words: %s", got)
	}
}

func TestTermsRefused(t *testing.T) {
	for name, c := range map[string]struct{ a, more, want string }{
		"role unknown":           {`role = "backup"`, "", `net.uplink[0].role: got "backup", want "primary", "shared" or "last-resort"`},
		"weight too large":       {`weight = 1000`, "", `net.uplink[0].weight: got 1000, want 1 to 100`},
		"rate without a unit":    {`up = "20"`, "", `net.uplink[0].up: got "20", want 64kbit to 100Gbit, such as "20Mbit"`},
		"rate in bytes":          {`up = "20MB"`, "", `net.uplink[0].up: got "20MB"`},
		"rate of nothing":        {`down = "0Mbit"`, "", `net.uplink[0].down: got "0Mbit"`},
		"rate not a number":      {`down = "NaNMbit"`, "", `net.uplink[0].down: got "NaNMbit"`},
		"cap in bits":            {`cap = "50Gbit"`, "", `net.uplink[0].cap: got "50Gbit", want 10MB to 1000TB, such as "20MB"`},
		"cap on the 31st":        {"cap = \"50GB\"\ncap_day = 31", "", `net.uplink[0].cap_day: got 31, want a day that each month has, 1 to 28`},
		"day without a cap":      {`cap_day = 3`, "", `net.uplink[0].cap_day: got a day without a cap`},
		"price below nothing":    {`price = -1.0`, "", `net.uplink[0].price: got -1`},
		"office with a match":    {"", "[net.class.office]\nmatch = [{ dscp = 3 }]", `net.class.office.match: office is what the other classes don't match`},
		"match of everything":    {"", "[net.class.bulk]\nmatch = [{}]", `net.class.bulk.match: got a match of everything`},
		"unknown class":          {"", "[net.class.games]\nmatch = [{ dscp = 3 }]", `net.class.games: unknown key`},
		"dscp too large":         {"", "[net.class.bulk]\nmatch = [{ dscp = 64 }]", `net.class.bulk.match: got dscp 64, want 0 to 63`},
		"host bits":              {"", "[net.class.bulk]\nmatch = [{ to = \"203.0.113.7/24\" }]", `got "203.0.113.7/24", want an IPv4 address or network`},
		"ports backwards":        {"", "[net.class.bulk]\nmatch = [{ service = \"tcp/90-80\" }]", `got service "tcp/90-80", want "tcp/443"`},
		"icmp with a port":       {"", "[net.class.bulk]\nmatch = [{ service = \"icmp/8\" }]", `got service "icmp/8"`},
		"no such uplink":         {"", "[net.class.bulk]\nuplinks = [\"isp-c\"]", `net.class.bulk.uplinks: got "isp-c", want the name of an uplink`},
		"uplink twice":           {"", "[net.class.bulk]\nuplinks = [\"isp-a\", \"isp-a\"]", `net.class.bulk.uplinks: "isp-a" is listed twice`},
		"strict without uplinks": {"", "[net.class.bulk]\nstrict = true", `net.class.bulk: got spread or strict without uplinks`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(withTerms(t, c.a, "", "\n"+c.more+"\n"))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "site.toml:") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"20Mbit", "1.5Gbit", "-1kbit", "1e9Gbit", "0x10Mbit", "Mbit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		file, err := site.Parse("site.toml", nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{f: file}
		if n := r.quantity("net.uplink[0].up", s, "bit", minRate, maxRate); s != "" && (n == 0) == (r.err() == nil) || n < 0 || n > maxRate {
			t.Fatalf("%q: got %d, %v", s, n, r.err())
		}
	})
}
