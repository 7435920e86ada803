package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"clinicgate/firmware/site"
)

// Metrics is where a Prometheus of cloud ops asks.
type Metrics struct {
	Listen string         // an address inside a tunnel, and a port
	From   []netip.Prefix // who may ask
}

// Export is where log lines go. Either may be nil.
type Export struct {
	Syslog *url.URL // udp or tcp, with a port
	OTLP   *url.URL // http or https: the whole URL that takes logs
}

type telemetrySection struct {
	Metrics *struct {
		Listen string   `toml:"listen"`
		From   []string `toml:"from"`
	} `toml:"metrics"`
	Export struct {
		Syslog string `toml:"syslog"`
		OTLP   string `toml:"otlp"`
	} `toml:"export"`
}

// maxFrom bounds who may ask.
const maxFrom = 16

// telemetry checks what leaves the clinic about the box.
func telemetry(f *site.File, s telemetrySection, c *Config) error {
	if m := s.Metrics; m != nil {
		at, err := netip.ParseAddrPort(m.Listen)
		if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() {
			return f.Errorf("panel.metrics.listen", "got %q, want the box's address in a tunnel, and a port: one for all networks would show it to the clinic's", m.Listen)
		}
		c.Metrics = &Metrics{Listen: m.Listen}
		if len(m.From) == 0 || len(m.From) > maxFrom {
			return f.Errorf("panel.metrics.from", "got %d networks, want 1 to %d: those who may ask", len(m.From), maxFrom)
		}
		for i, text := range m.From {
			p, err := netip.ParsePrefix(text)
			if err != nil || p.Bits() == 0 {
				return f.Errorf("panel.metrics.from", "[%d]: got %q, want a network such as \"10.99.0.0/24\"", i, text)
			}
			c.Metrics.From = append(c.Metrics.From, p)
		}
	}
	var err error
	if c.Export.Syslog, err = collector(s.Export.Syslog, "udp", "tcp"); err != nil {
		return f.Errorf("panel.export.syslog", "%w", err)
	}
	if u := c.Export.Syslog; u != nil && (u.Port() == "" || u.Path != "") {
		return f.Errorf("panel.export.syslog", "got %q, want such as \"udp://10.98.1.30:514\"", s.Export.Syslog)
	}
	if c.Export.OTLP, err = collector(s.Export.OTLP, "http", "https"); err != nil {
		return f.Errorf("panel.export.otlp", "%w", err)
	}
	return nil
}

// collector reads a URL whose host is an address: whoever forges names must not get
// the box's log.
func collector(text string, schemes ...string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err == nil && u.User == nil && u.RawQuery == "" && u.Fragment == "" && net.ParseIP(u.Hostname()) != nil {
		for _, s := range schemes {
			if u.Scheme == s {
				return u, nil
			}
		}
	}
	return nil, fmt.Errorf("got %q, want %s:// or %s:// and an address, without user or query", text, schemes[0], schemes[1])
}
