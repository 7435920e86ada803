package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestServices(t *testing.T) {
	c, err := parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Zones[0].Gateway(); got != netip.MustParseAddr("10.20.0.1") {
		t.Errorf("gateway: got %v", got)
	}
	if d := c.DHCP[0]; len(c.DHCP) != 1 || d.Gateway.String() != "10.20.0.1" || d.Port != "lan" || d.First.String() != "10.20.0.100" || d.Last.String() != "10.20.0.199" || d.Lease != 12*time.Hour || len(d.Reservations) != 1 || d.Reservations[0].MAC.String() != "52:54:00:20:00:60" {
		t.Errorf("dhcp: got %+v", d)
	}
	if d := c.DNS; d == nil || d.Domain != "clinic.internal" || d.MaxStale != 168*time.Hour {
		t.Errorf("dns: got %+v", d)
	}
	if c.NTP == nil {
		t.Error("ntp: got none")
	}
}

func TestServicesAbsent(t *testing.T) {
	text, _, _ := strings.Cut(example(t), "[net.dhcp]")
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.DHCP != nil || c.DNS != nil || c.NTP != nil || c.Zones[0].Gateway().String() != "10.20.0.2" {
		t.Errorf("got %+v %+v %+v, gateway %v", c.DHCP, c.DNS, c.NTP, c.Zones[0].Gateway())
	}
}

func TestServiceRefusals(t *testing.T) {
	second := "\n[[net.dhcp.reservation]]\nmac = \"52:54:00:20:00:60\"\naddress = \"10.20.0.61\"\nname = \"other\"\n\n[net.dns] "
	for name, c := range map[string]struct{ from, to, want string }{
		"pool of one word":           {`"10.20.0.100-10.20.0.199"`, `"many"`, `net.dhcp.pool: got "many", want first and last address`},
		"pool backwards":             {`"10.20.0.100-10.20.0.199"`, `"10.20.0.199-10.20.0.100"`, `net.dhcp.pool: got 0 addresses, want 2 to 1000`},
		"pool outside":               {`"10.20.0.100-10.20.0.199"`, `"10.20.1.100-10.20.1.199"`, `net.dhcp.pool: got 10.20.1.100, want an address of a host in 10.20.0.0/24 of zone lan`},
		"pool to broadcast":          {`"10.20.0.100-10.20.0.199"`, `"10.20.0.100-10.20.0.255"`, `net.dhcp.pool: got 10.20.0.255`},
		"pool over own":              {`"10.20.0.100-10.20.0.199"`, `"10.20.0.2-10.20.0.99"`, `net.dhcp.pool: 10.20.0.2 is the box's own address`},
		"pool over the pair's":       {`address = "10.20.0.2/24" # this`, `address = "10.20.0.201/24" # this`, ``},
		"zone of nobody":             {"[net.dns] ", "[[net.dhcp.zone]]\nzone = \"cellar\"\npool = \"10.9.0.2-10.9.0.9\"\n[net.dns] ", `net.dhcp.zone[0].zone: got "cellar"`},
		"zone is the LAN":            {"[net.dns] ", "[[net.dhcp.zone]]\nzone = \"lan\"\npool = \"10.20.0.5-10.20.0.9\"\n[net.dns] ", `net.dhcp.zone[0].zone: lan is already taken`},
		"half of what":               {`# half = "lower" `, `half = "left" `, `net.dhcp.half: got "left"`},
		"lease too short":            {`lease = "12h"`, `lease = "10s"`, `net.dhcp.lease: got 10s`},
		"reservation outside":        {`address = "10.20.0.60"`, `address = "10.21.0.60"`, `net.dhcp.reservation[0].address: got 10.21.0.60, want an address in a network that has a pool`},
		"reservation is the box":     {`address = "10.20.0.60"`, `address = "10.20.0.2"`, `net.dhcp.reservation[0].address: got 10.20.0.2, which is the box's own`},
		"reservation is the pair":    {`address = "10.20.0.60"`, `address = "10.20.0.1"`, `net.dhcp.reservation[0].address: got 10.20.0.1, which is the box's own`},
		"mac of a group":             {`52:54:00:20:00:60`, `01:00:5e:00:00:01`, `net.dhcp.reservation[0].mac: got "01:00:5e:00:00:01"`},
		"mac twice":                  {"[net.dns] ", second, `net.dhcp.reservation[1].mac: 52:54:00:20:00:60 is already taken at site.toml:`},
		"name with a dot":            {`name    = "ecg-cart"`, `name = "ecg.cart"`, `net.dhcp.reservation[0].name: got "ecg.cart"`},
		"name of the box":            {`name    = "ecg-cart"`, `name = "gateway"`, `net.dhcp.reservation[0].name: got "gateway"`},
		"domain with capitals":       {`domain    = "clinic.internal"`, `domain = "Clinic"`, `net.dns.domain: got "Clinic"`},
		"domain of the box":          {`domain    = "clinic.internal"`, `domain = "internal"`, `net.dns.domain: got "internal"`},
		"upstream is the box":        {`upstream  = []`, `upstream = ["10.20.0.1"]`, `net.dns.upstream: 10.20.0.1 is the box's own address`},
		"upstream by name":           {`upstream  = []`, `upstream = ["dns.example"]`, `net.dns.upstream: got "dns.example"`},
		"stale for ever":             {`"168h"`, `"10000h"`, `net.dns.max_stale: got 10000h0m0s, want 0s to 720h0m0s`},
		"private, not a domain":      {`private   = []`, `private = ["*.x"]`, `net.dns.private: got "*.x"`},
		"zone without servers":       {"# [[net.dns.zone]]", "[[net.dns.zone]]\nname = \"a.example\" #", `net.dns.zone[0].servers: got none`},
		"time from a word":           {`servers = []`, `servers = ["clock"]`, `net.ntp.servers: got "clock"`},
		"time from a name, no DNS":   {"servers = []", "servers = [\"pool.ntp.org\"]", `net.ntp.servers: got the name "pool.ntp.org" and no net.dns`},
		"time from one server twice": {`servers = []`, `servers = ["192.0.2.1", "192.0.2.1"]`, `net.ntp.servers: 192.0.2.1 is listed twice`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(example(t), c.from, c.to, 1)
			if text == example(t) {
				t.Fatalf("%q is not in the example", c.from)
			}
			if strings.HasSuffix(name, "no DNS") {
				from, to := strings.Index(text, "[net.dns]"), strings.Index(text, "[net.ntp]")
				text = text[:from] + text[to:]
			}
			_, err := parse(text)
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v, want it accepted", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "site.toml:") {
					t.Errorf("no file:line in %q", line)
				}
			}
		})
	}
}

func TestServicesOfZones(t *testing.T) {
	c, err := parse(strings.NewReplacer("[net.probe]", "[[net.zone]]\nname = \"guests\"\nkind = \"guests\"\nport = \"lan\"\nvlan = 30\naddress = \"10.30.0.1/24\"\n[net.probe]",
		"[[net.dhcp.res", "[[net.dhcp.zone]]\nzone = \"guests\"\npool = \"10.30.0.10-10.30.0.99\"\nlease = \"1h\"\n[[net.dhcp.res", "10.20.0.60\"", "10.30.0.60\"").Replace(example(t)))
	if err != nil {
		t.Fatal(err)
	}
	if d := c.DHCP; len(d) != 2 || d[1].Port != "lan.30" || d[1].Gateway.String() != "10.30.0.1" || d[1].Lease != time.Hour || len(d[1].Reservations) != 1 || len(d[0].Reservations) != 0 {
		t.Errorf("got %+v", d)
	}
}

// The two halves of a pool are apart and leave nothing out.
func TestHalves(t *testing.T) {
	for _, pool := range []string{"10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.3", "10.20.0.100-10.20.0.199", "10.0.0.250-10.0.1.20"} {
		from, to, _ := strings.Cut(pool, "-")
		d := Addresses{First: netip.MustParseAddr(from), Last: netip.MustParseAddr(to), Half: Lower}
		a, b := d.Mine()
		d.Half = Upper
		x, y := d.Mine()
		if a != d.First || b.Next() != x || y != d.Last {
			t.Errorf("%s: lower %v-%v, upper %v-%v", pool, a, b, x, y)
		}
	}
}
