package config

import (
	"strings"
	"testing"

	"clinicgate/firmware/site"
)

func withPanel(t *testing.T, panel string) (Config, error) {
	t.Helper()
	f, err := site.Parse("site.toml", []byte("[site]\nname = \"Lab\"\ncode = \"lab\"\n[panel]\n"+panel))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(f)
}

func TestTelemetry(t *testing.T) {
	c, err := withPanel(t, "[panel.metrics]\nlisten = \"10.99.0.2:9100\"\nfrom = [\"10.99.0.0/24\"]\n[panel.export]\nsyslog = \"udp://10.98.1.30:514\"\notlp = \"http://10.98.1.30:4318/v1/logs\"\n")
	if err != nil || c.Metrics == nil || c.Metrics.Listen != "10.99.0.2:9100" || len(c.Metrics.From) != 1 {
		t.Fatalf("%+v, %v", c.Metrics, err)
	}
	if c.Export.Syslog.Host != "10.98.1.30:514" || c.Export.OTLP.Path != "/v1/logs" {
		t.Errorf("%+v", c.Export)
	}
	if c, err := withPanel(t, ""); err != nil || c.Metrics != nil || c.Export.Syslog != nil || c.Export.OTLP != nil {
		t.Errorf("without: %+v, %v: nothing may leave", c, err)
	}
	for text, want := range map[string]string{
		"[panel.metrics]\nlisten = \":9100\"\nfrom = [\"10.99.0.0/24\"]":        "panel.metrics.listen: got \":9100\"",
		"[panel.metrics]\nlisten = \"0.0.0.0:9100\"\nfrom = [\"10.99.0.0/24\"]": "want the box's address in a tunnel",
		"[panel.metrics]\nlisten = \"10.99.0.2:9100\"":                          "panel.metrics.from: got 0 networks",
		"[panel.metrics]\nlisten = \"10.99.0.2:9100\"\nfrom = [\"0.0.0.0/0\"]":  "panel.metrics.from: [0]: got \"0.0.0.0/0\"",
		"[panel.export]\nsyslog = \"udp://10.98.1.30\"":                         "panel.export.syslog: got",
		"[panel.export]\nsyslog = \"udp://logs.example:514\"":                   "and an address",
		"[panel.export]\nsyslog = \"http://10.98.1.30:514\"":                    "want udp:// or tcp://",
		"[panel.export]\notlp = \"http://user:pass@10.98.1.30:4318/v1/logs\"":   "without user",
		"[panel.export]\nprometheus = \"http://10.98.1.30:4318\"":               "unknown key",
	} {
		if _, err := withPanel(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
