package config

import (
	"strings"
	"testing"
)

// probing is the example with more keys in [net.probe].
func probing(t testing.TB, keys string) string {
	return strings.Replace(example(t), "[net.probe] ", keys0+keys+"\n#", 1)
}

const keys0 = "[net.probe]\n"

func TestProbe(t *testing.T) {
	c, err := parse(probing(t, "stamp = \"192.0.2.9\"\nportal = \"http://connectivity.example/generate_204\""))
	if err != nil {
		t.Fatal(err)
	}
	if c.Probe.Stamp.String() != "192.0.2.9:862" || c.Probe.Portal == "" {
		t.Errorf("got %+v", c.Probe)
	}
	for keys, want := range map[string]string{
		`stamp = "hub"`:                              `net.probe.stamp: got "hub", want the IPv4 address of a STAMP reflector`,
		`stamp = "192.0.2.9:0"`:                      `net.probe.stamp: got "192.0.2.9:0"`,
		`stamp = "10.98.1.1:862"`:                    `net.probe.stamp: 10.98.1.1 lies in 10.98.0.0/16 of net.tunnel[0].routes`,
		`portal = "https://connectivity.example/"`:   `net.probe.portal: got "https://connectivity.example/", want a page that answers 204 over plain HTTP`,
		`portal = "http:///x"`:                       `net.probe.portal: got "http:///x"`,
		`portal = "http://user:secret@example.org/"`: `net.probe.portal: got`,
		`portal = "http://127.0.0.1/"`:               `want a name or an IPv4 address of a host`,
	} {
		if _, err := parse(probing(t, keys)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "site.toml:") {
			t.Errorf("%s: got %v, want %q", keys, err, want)
		}
	}
}
