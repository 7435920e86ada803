package config

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
)

// example returns the site file that the project shows to everyone.
func example(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parse(text string) (Config, error) {
	f, err := site.Parse("site.toml", []byte(text))
	if err != nil {
		return Config{}, err
	}
	return Parse(f)
}

func TestExample(t *testing.T) {
	c, err := parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Uplinks) != 2 || c.Uplinks[1].Gateway != netip.MustParseAddr("198.51.100.1") || c.Uplinks[0].Method != DHCP {
		t.Errorf("uplinks: got %+v", c.Uplinks)
	}
	if c.LAN != (LAN{Port: "lan", Address: netip.MustParsePrefix("10.20.0.2/24")}) {
		t.Errorf("lan: got %+v", c.LAN)
	}
	if c.Probe.Every != 500*time.Millisecond || c.Probe.Lost != 3 || c.Probe.Back != 5 || len(c.Probe.Targets) != 1 {
		t.Errorf("probe: got %+v", c.Probe)
	}
	tun := c.Tunnels[0]
	if tun.Device != "cg-hub" || tun.KeyFile != "hub.key" || len(tun.Routes) != 2 || tun.Keepalive != 15*time.Second || tun.Policy != Redundant || len(tun.Hubs) != 1 || tun.Hubs[0].Probe.String() != "10.99.0.1" || tun.Hubs[0].PeerKey[0] != 0xc5 {
		t.Errorf("tunnel: got %+v", tun)
	}
	if len(c.Firewall.LAN) != 9 || c.Firewall.LAN[3] != (Service{"tcp", 8443}) || len(c.Firewall.WAN) != 0 {
		t.Errorf("firewall: got %+v", c.Firewall)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"two uplinks on a port":   {`port    = "wan2"`, `port = "wan1"`, `net.uplink[1].port: port "wan1" is already used by net.uplink[0].port (site.toml:`},
		"uplink on the LAN port":  {`port    = "wan2"`, `port = "lan"`, `net.uplink[1].port: port "lan" is already used by net.lan.port`},
		"two uplinks one name":    {`name    = "isp-b"`, `name = "isp-a"`, `net.uplink[1].name: "isp-a" is already the name at site.toml:`},
		"name with capital":       {`name   = "isp-a"`, `name = "ISP"`, `net.uplink[0].name: got "ISP", want 1 to 12 of`},
		"port unset":              {`port   = "wan1"`, ``, `net.uplink[0].port: got "", want a port`},
		"lan address unset":       {`address = "10.20.0.2/24" # this`, `# this`, `net.lan.address: got ""`},
		"network as address":      {`"10.20.0.2/24" # this`, `"10.20.0.0/24" # this`, `net.lan.address: got "10.20.0.0/24", the network's first or last`},
		"broadcast as address":    {`"10.20.0.2/24" # this`, `"10.20.0.255/24" # this`, `first or last`},
		"method unknown":          {`method = "dhcp" `, `method = "ppp" `, `net.uplink[0].method: got "ppp", want "dhcp" or "static"`},
		"dhcp with address":       {`method  = "static"`, `method = "dhcp"`, `net.uplink[1].method: got "dhcp" with an address or gateway`},
		"static without gateway":  {`gateway = "198.51.100.1"`, ``, `net.uplink[1].gateway: got ""`},
		"gateway elsewhere":       {`gateway = "198.51.100.1"`, `gateway = "198.51.101.1"`, `net.uplink[1].gateway: got 198.51.101.1, want another address inside 198.51.100.0/24`},
		"gateway is us":           {`gateway = "198.51.100.1"`, `gateway = "198.51.100.2"`, `want another address inside`},
		"uplink overlaps LAN":     {`"198.51.100.2/24"`, `"10.20.0.130/25"`, `net.uplink[1].address: 10.20.0.128/25 overlaps 10.20.0.0/24 of net.lan.address (site.toml:`},
		"tunnel overlaps LAN":     {`"10.98.0.0/16"]`, `"10.0.0.0/8"]`, `net.tunnel[0].routes: 10.0.0.0/8 overlaps 10.20.0.0/24 of net.lan.address`},
		"tunnel overlaps uplink":  {`"10.98.0.0/16"]`, `"198.51.0.0/16"]`, `net.tunnel[0].routes: 198.51.0.0/16 overlaps 198.51.100.0/24 of net.uplink[1].address`},
		"endpoint in tunnel":      {`"10.98.0.0/16"]`, `"192.0.2.0/24"]`, `net.tunnel[0].endpoint: 192.0.2.1 lies in 192.0.2.0/24 of net.tunnel[0].routes`},
		"probe target in the LAN": {`["192.0.2.1"]  #`, `["10.20.0.9"]  #`, `net.probe.targets: 10.20.0.9 lies in 10.20.0.0/24 of net.lan.address`},
		"no targets":              {`["192.0.2.1"]  #`, `[]  #`, `net.probe.targets: got 0 targets`},
		"target twice":            {`["192.0.2.1"]  #`, `["192.0.2.1", "192.0.2.1"]  #`, `192.0.2.1 is listed twice`},
		"target IPv6":             {`["192.0.2.1"]  #`, `["2001:db8::1"]  #`, `net.probe.targets: got "2001:db8::1", want an IPv4`},
		"probe too often":         {`every   = "500ms"`, `every = "1ms"`, `net.probe.every: got 1ms, want 50ms to 1m`},
		"one lost is no proof":    {`lost    = 3`, `lost = 1`, `net.probe.lost: got 1, want 2 to 20`},
		"never back":              {`back    = 5`, `back = 0`, `net.probe.back: got 0, want 1 to 100`},
		"tunnel without key":      {`key       = "hub.key"`, ``, `net.tunnel[0].key: got "", want the name of our private key's file`},
		"key with a path":         {`"hub.key"`, `"../syncd/hub.key"`, `net.tunnel[0].key: got "../syncd/hub.key"`},
		"tunnel without peer key": {`"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="`, `""`, `net.tunnel[0].peer_key: got "", want the hub's`},
		"peer key of zeros":       {`"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="`, `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`, `net.tunnel[0].peer_key`},
		"endpoint without port":   {`"192.0.2.1:51820"`, `"192.0.2.1"`, `net.tunnel[0].endpoint: got "192.0.2.1", want IPv4 address and port`},
		"tunnel without routes":   {`routes    = ["10.99.0.0/24", "10.98.0.0/16"]`, `routes = []`, `net.tunnel[0].routes: got none`},
		"route with host bits":    {`"10.98.0.0/16"]`, `"10.98.0.1/16"]`, `net.tunnel[0].routes: got "10.98.0.1/16", want an IPv4 network`},
		"policy unknown":          {`"redundant"`, `"bonded"`, `net.tunnel[0].policy: got "bonded", want "best", "redundant" or "aggregate"`},
		"probe outside tunnel":    {`probe     = "10.99.0.1"`, `probe = "10.9.0.1"`, `net.tunnel[0].probe: got 10.9.0.1, want an address inside one of the tunnel's routes`},
		"keepalive in part":       {`keepalive = "15s"`, `keepalive = "1500ms"`, `net.tunnel[0].keepalive: got 1.5s, want whole seconds`},
		"service without port":    {`"tcp/8443", `, `"tcp", `, `net.firewall.lan: got "tcp", want "icmp"`},
		"service port 0":          {`"tcp/8443", `, `"tcp/0", `, `net.firewall.lan: got "tcp/0"`},
		"service twice":           {`"tcp/8443", `, `"tcp/8443", "tcp/8443", `, `"tcp/8443" is listed twice`},
		"vrrp from the internet":  {`wan = []`, `wan = ["vrrp"]`, `net.firewall.wan: got "vrrp", which is for the clinic's side`},
		"unknown key":             {`wan = []`, `wann = []`, `net.firewall.wann: unknown key`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(example(t), c.from, c.to, 1)
			if text == example(t) {
				t.Fatalf("%q is not in the example", c.from)
			}
			_, err := parse(text)
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

func TestNoUplink(t *testing.T) {
	_, err := parse("[net.lan]\nport = \"lan\"\naddress = \"10.20.0.2/24\"\n")
	if err == nil || !strings.Contains(err.Error(), "net.uplink: got 0 uplinks, want 1 to 8") {
		t.Fatalf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example(f))
	f.Add(clinic(f))
	f.Add("[[net.uplink.0]]")
	f.Add("[[net.uplink]]\naddress=\"0.0.0.0/0\"\nmethod=\"static\"\ngateway=\"::\"\n[[net.tunnel]]\nroutes=[\"\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err == nil && (len(c.Uplinks) == 0 || len(c.Probe.Targets) == 0 || !c.LAN.Address.IsValid() || len(c.Zones) == 0) {
			t.Fatalf("accepted without its parts: %+v", c)
		}
	})
}

func TestClashAt(t *testing.T) {
	c, err := parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		i            int
		prefix, want string
	}{
		{0, "198.51.100.77/24", "198.51.100.77/24 overlaps 198.51.100.0/24, which is uplink isp-b's"},
		{0, "198.0.0.7/8", "which is uplink isp-b's"},
		{1, "198.51.100.77/24", ""},
		{0, "192.168.1.100/24", ""},
		{0, "10.20.0.9/32", "which is net.lan.address"},
	} {
		err := c.ClashAt(tt.i, netip.MustParsePrefix(tt.prefix))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s at %d: got %v, want %q", tt.prefix, tt.i, err, tt.want)
		}
	}
}

func TestClash(t *testing.T) {
	c, err := parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]string{
		"100.64.1.100/24": "",
		"192.168.1.5/24":  "",
		"10.20.0.77/24":   "10.20.0.77/24 overlaps 10.20.0.0/24, which is net.lan.address",
		"10.98.3.4/24":    "overlaps 10.98.0.0/16, which is net.tunnel[0].routes",
		"10.1.1.1/8":      "overlaps",
	} {
		err := c.Clash(netip.MustParsePrefix(prefix))
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", prefix, err, want)
		}
	}
}
