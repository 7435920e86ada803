package site

import (
	"net/netip"
	"strings"
	"testing"
)

const sample = `# a clinic
[site]
name = "Portillo"
code = "ES-VA-047"

[net]
dns = "on"

[[net.uplink]]
name = "isp-a"
address = "192.0.2.2/24"

[[net.uplink]]
name = "isp-b"
[net.uplink.probe]
every = "1s"
`

type netSection struct {
	DNS    string `toml:"dns"`
	Uplink []struct {
		Name    string       `toml:"name"`
		Address netip.Prefix `toml:"address"`
		Probe   struct {
			Every Duration `toml:"every"`
		} `toml:"probe"`
	} `toml:"uplink"`
}

func TestDecode(t *testing.T) {
	f, err := Parse("site.toml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.Identity()
	if err != nil || id != (Identity{Name: "Portillo", Code: "ES-VA-047"}) {
		t.Fatalf("identity %+v, %v", id, err)
	}
	var n netSection
	if err := f.Decode("net", &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Uplink) != 2 || n.Uplink[0].Address.String() != "192.0.2.2/24" || n.Uplink[1].Probe.Every == 0 {
		t.Fatalf("got %+v", n)
	}
	for key, want := range map[string]string{
		"net.uplink[1].name":        "site.toml:14",
		"net.uplink[1].probe.every": "site.toml:16",
		"net.uplink[0].address":     "site.toml:11",
		"net.uplink[1].absent":      "site.toml:13",
		"sync.absent":               "site.toml",
		"site.name":                 "site.toml:3",
	} {
		if got := f.At(key); got != want {
			t.Errorf("At(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown section":  {"[net]", "[nett]", "site.toml:6: nett: unknown section"},
		"unknown key":      {`dns = "on"`, `dnss = "on"`, "site.toml:7: net.dnss: unknown key"},
		"wrong type":       {`dns = "on"`, `dns = 1`, "site.toml:7"},
		"not TOML":         {`dns = "on"`, `dns = `, "site.toml:7"},
		"bad prefix":       {"192.0.2.2/24", "192.0.2.256/24", "site.toml:11"},
		"bad duration":     {"1s", "1 second", "site.toml:16"},
		"unknown in table": {`name = "isp-b"`, `nam = "isp-b"`, "site.toml:14: net.uplink.nam: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse("site.toml", []byte(strings.Replace(sample, c.from, c.to, 1)))
			if err == nil {
				err = f.Decode("net", &netSection{})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestIdentityRequired(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "section [site] is missing"},
		{"[site]\ncode = \"x\"\n", `site.toml:1: site.name: got "", want 1 to 64 characters`},
	} {
		f, err := Parse("site.toml", []byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Identity(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.in, err, c.want)
		}
	}
}

func TestDecoderPanic(t *testing.T) {
	f, err := Parse("site.toml", []byte("[[net.uplink.0]]"))
	if err == nil {
		err = f.Decode("net", &netSection{})
	}
	if err == nil || !strings.HasPrefix(err.Error(), "site.toml: the tables contradict each other") {
		t.Fatalf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("[[net.uplink.0]]"))
	f.Add([]byte("[a]\nb.c=[{d=1}]\n[[x.y]]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("site.toml", data)
		if err != nil {
			return
		}
		_ = file.Decode("net", &netSection{})
		_, _ = file.Identity()
		_ = file.At("net.uplink[0].name")
	})
}
