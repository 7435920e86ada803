package config

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// clinic is the example with every kind of zone and IPv6 by both providers.
func clinic(t testing.TB) string {
	t.Helper()
	text := strings.NewReplacer(
		"port   = \"wan1\"\n", "port   = \"wan1\"\nvlan   = 100\nipv6   = \"auto\"\n",
		"gateway = \"198.51.100.1\"\n", "gateway = \"198.51.100.1\"\nipv6 = \"static\"\nipv6_address = \"2001:db8:b::2/64\"\nipv6_gateway = \"2001:db8:b::1\"\nipv6_prefix = \"2001:db8:b00::/56\"\n",
		"[net.lan]\n", "[net.lan]\nreaches = [\"devices\"]\n",
	).Replace(example(t))
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "") // choices nobody made
	return text + `
[net.ipv6]
local   = "fd5a:1c3e:9b20::/48"
targets = ["2001:db8:1::1"]

[[net.zone]]
name    = "devices"
kind    = "devices"
port    = "lan"
vlan    = 30
address = "10.20.30.2/24"
serves  = ["icmp", "tcp/8883", "tcp/11112"]

[[net.zone]]
name    = "guests"
kind    = "guests"
port    = "lan"
vlan    = 40
address = "10.20.40.2/24"

[[net.zone]]
name    = "technician"
kind    = "service"
port    = "svc"
address = "10.20.50.2/24"
`
}

func TestZones(t *testing.T) {
	c, err := parse(clinic(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, z := range c.Zones {
		names = append(names, z.Name+"="+z.Port)
		if z.Subnet != i {
			t.Errorf("%s: subnet %d, want %d", z.Name, z.Subnet, i)
		}
	}
	if want := []string{"lan=lan", "devices=lan.30", "guests=lan.40", "technician=svc"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	lan, devices := c.Zones[0], c.Zones[1]
	if !lan.Internet() || !lan.Tunnels() || devices.Internet() || devices.Tunnels() || c.Zones[2].Tunnels() {
		t.Errorf("got %+v", c.Zones)
	}
	if want := []string{"lan", "vm-20-4", "vm-20-6"}; !slices.Equal(lan.Devices(), want) {
		t.Errorf("devices of the LAN: got %v, want %v: those of the example's group", lan.Devices(), want)
	}
	if devices.Tag != (Tag{"lan", 30}) || len(devices.Serves) != 3 || !slices.Equal(devices.Devices(), []string{"lan.30"}) {
		t.Errorf("got %+v", devices)
	}
	if a := c.Uplinks[0]; a.Port != "wan1.100" || a.Tag != (Tag{"wan1", 100}) || a.Six.Method != SixAuto {
		t.Errorf("got %+v", a)
	}
	if b := c.Uplinks[1].Six; b.Address.String() != "2001:db8:b::2/64" || b.Gateway.String() != "2001:db8:b::1" || b.Prefix.String() != "2001:db8:b00::/56" {
		t.Errorf("got %+v", b)
	}
	if !c.HasSix() || len(c.Six.Targets) != 1 {
		t.Errorf("got %+v", c.Six)
	}
}

func TestZoneRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"kind unknown":             {`kind    = "guests"`, `kind = "patients"`, `net.zone[1].kind: got "patients", want "staff", "devices", "guests" or "service"`},
		"name of the LAN":          {`name    = "guests"`, `name = "lan"`, `net.zone[1].name: "lan" is already the name at site.toml:`},
		"name twice":               {`name    = "guests"`, `name = "devices"`, `net.zone[1].name: "devices" is already the name at site.toml:`},
		"name with a meaning":      {`name    = "guests"`, `name = "internet"`, `net.zone[1].name: "internet" is already`},
		"vlan 0":                   {`vlan    = 40`, `vlan = 0`, `net.zone[1].vlan: got 0, want 1 to 4094`},
		"vlan 4095":                {`vlan   = 100`, `vlan = 4095`, `net.uplink[0].vlan: got 4095, want 1 to 4094`},
		"one port and vlan twice":  {`vlan    = 40`, `vlan = 30`, `net.zone[1].port: port "lan.30" is already used by net.zone[0].port (site.toml:`},
		"zone on the LAN":          {"vlan    = 40\n", "", `net.zone[1].port: port "lan" is already used by net.lan.port`},
		"uplink on a zone":         {"port   = \"wan1\"\nvlan   = 100\n", "port = \"lan\"\nvlan = 30\n", `net.uplink[0].port: port "lan.30" is already used by net.zone[0].port`},
		"device's name too long":   {"port   = \"wan1\"\n", "port   = \"modem-lte1\"\n", `net.uplink[0].vlan: the device would be called "modem-lte1.100", want at most 12`},
		"zone overlaps LAN":        {`"10.20.40.2/24"`, `"10.20.0.129/25"`, `net.zone[1].address: 10.20.0.128/25 overlaps 10.20.0.0/24 of net.lan.address`},
		"zone overlaps zone":       {`"10.20.40.2/24"`, `"10.20.30.130/25"`, `overlaps 10.20.30.0/24 of net.zone[0].address (site.toml:`},
		"uplink overlaps zone":     {`"198.51.100.2/24"`, `"10.20.40.130/25"`, `net.uplink[1].address: 10.20.40.128/25 overlaps 10.20.40.0/24 of net.zone[1].address`},
		"tunnel overlaps zone":     {`"10.98.0.0/16"]`, `"10.20.30.0/24"]`, `net.tunnel[0].routes: 10.20.30.0/24 overlaps 10.20.30.0/24 of net.zone[0].address`},
		"target in a zone":         {`["192.0.2.1"]  #`, `["10.20.40.9"]  #`, `net.probe.targets: 10.20.40.9 lies in 10.20.40.0/24 of net.zone[1].address`},
		"devices reach out":        {`serves  = ["icmp", "tcp/8883", "tcp/11112"]`, `reaches = ["lan"]`, `net.zone[0].reaches: got ["lan"] for a zone of kind "devices", want none: only staff may`},
		"reaches nobody":           {`reaches = ["devices"]`, `reaches = ["device"]`, `net.lan.reaches: got "device", want the name of another zone`},
		"reaches itself":           {`reaches = ["devices"]`, `reaches = ["lan"]`, `net.lan.reaches: got "lan", want the name of another zone`},
		"reaches twice":            {`reaches = ["devices"]`, `reaches = ["devices", "devices"]`, `"devices" is listed twice`},
		"serves nonsense":          {`"tcp/8883", "tcp/11112"]` + "\n\n[[", `"tcp"]` + "\n\n[[", `net.zone[0].serves: got "tcp", want`},
		"ipv6 unknown":             {`ipv6   = "auto"`, `ipv6 = "slaac"`, `net.uplink[0].ipv6: got "slaac", want "off", "auto" or "static"`},
		"auto with address":        {`ipv6   = "auto"`, `ipv6_address = "2001:db8::2/64"`, `net.uplink[0].ipv6: got "off" with an ipv6_address`},
		"IPv4 as IPv6":             {`"2001:db8:b::2/64"`, `"::ffff:192.0.2.1/120"`, `net.uplink[1].ipv6_address: got "::ffff:192.0.2.1/120", want a global IPv6`},
		"link-local as address":    {`"2001:db8:b::2/64"`, `"fe80::2/64"`, `net.uplink[1].ipv6_address`},
		"the routers' address":     {`"2001:db8:b::2/64"`, `"2001:db8:b::/64"`, `net.uplink[1].ipv6_address: got "2001:db8:b::/64", the network's first`},
		"gateway of IPv6 is us":    {`"2001:db8:b::1"`, `"2001:db8:b::2"`, `net.uplink[1].ipv6_gateway: got "2001:db8:b::2", want a link-local address or another inside`},
		"gateway of IPv6 unset":    {`ipv6_gateway = "2001:db8:b::1"`, ``, `net.uplink[1].ipv6_gateway: got ""`},
		"prefix with host bits":    {`"2001:db8:b00::/56"`, `"2001:db8:b00::1/56"`, `net.uplink[1].ipv6_prefix: got "2001:db8:b00::1/56", want an IPv6 network`},
		"prefix too long":          {`"2001:db8:b00::/56"`, `"2001:db8:b00::/65"`, `net.uplink[1].ipv6_prefix: got 2001:db8:b00::/65, want /32 to /64`},
		"prefix is the provider's": {`"2001:db8:b00::/56"`, `"2001:db8:b::/64"`, `net.uplink[1].ipv6_prefix: 2001:db8:b::/64 overlaps 2001:db8:b::/64 of net.uplink[1].ipv6_address`},
		"local is global":          {`"fd5a:1c3e:9b20::/48"`, `"2001:db8:c::/48"`, `net.ipv6.local: got 2001:db8:c::/48, want a /48 of fd00::/8`},
		"local is short":           {`"fd5a:1c3e:9b20::/48"`, `"fd00::/8"`, `net.ipv6.local: got fd00::/8, want a /48`},
		"IPv6 target in the LAN":   {`"2001:db8:1::1"`, `"fd5a:1c3e:9b20::1"`, `net.ipv6.targets: fd5a:1c3e:9b20::1 lies in fd5a:1c3e:9b20::/48 of net.ipv6.local`},
		"IPv6 target is IPv4":      {`"2001:db8:1::1"`, `"192.0.2.1"`, `net.ipv6.targets: got "192.0.2.1", want a global IPv6`},
	} {
		t.Run(name, func(t *testing.T) {
			text := clinic(t)
			at := strings.Index(text, c.from)
			if at < 0 {
				t.Fatalf("%q is not in the site file", c.from)
			}
			_, err := parse(text[:at] + c.to + text[at+len(c.from):])
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

// TestStrangePair: the pair's section is failoverd's to judge; whatever is in it,
// netd only passes over what it can't use.
func TestStrangePair(t *testing.T) {
	for _, pair := range []string{"[pair]\ngroup = 1\n", "[[pair.group]]\nvrid = \"x\"\nport = 3\n", "[[pair.group]]\nvrid = 300\nport = \"lan\"\n", ""} {
		text := example(t)
		from, to := strings.Index(text, "[[pair.group]]"), strings.Index(text, "# ---- cardauth")
		c, err := parse(text[:from] + pair + text[to:])
		if err != nil || len(c.Zones[0].Virtual) > 0 {
			t.Errorf("%q: got %+v, %v", pair, c.Zones, err)
		}
	}
}
