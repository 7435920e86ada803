// Package config reads [panel] of the site file. What Parse returns needs no
// further check.
package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"clinicgate/firmware/site"
)

// Config is the checked section.
type Config struct {
	Site    site.Identity
	Listen  string // TLS
	Plain   string // where a browser that knows nothing of TLS comes first; empty: nowhere
	Names   []string
	Records string   // FHIR base for programs in a browser, with no slash at its end; empty: no ECGs on the page
	Metrics *Metrics // nil: nobody asks
	Export  Export
}

type section struct {
	Listen  *string  `toml:"listen"`
	Plain   *string  `toml:"plain"`
	Names   []string `toml:"names"`
	Records string   `toml:"records"`
	telemetrySection
}

// Defaults and limits.
const (
	defaultListen = ":443"
	defaultPlain  = ":80"
	maxNames      = 8
)

// Parse reads the section; a site without one has the page all the same.
func Parse(f *site.File) (Config, error) {
	c := Config{Listen: defaultListen, Plain: defaultPlain, Names: []string{"gateway.internal", "gateway.local"}}
	var err error
	if c.Site, err = f.Identity(); err != nil || !f.Has("panel") {
		return c, err
	}
	var s section
	if err := f.Decode("panel", &s); err != nil {
		return c, err
	}
	if s.Listen != nil {
		c.Listen = *s.Listen
	}
	if s.Plain != nil {
		c.Plain = *s.Plain
	}
	for key, addr := range map[string]string{"panel.listen": c.Listen, "panel.plain": c.Plain} {
		if !endpoint(addr) && (key == "panel.listen" || addr != "") {
			return c, f.Errorf(key, "got %q, want \"address:port\" or \":port\"", addr)
		}
	}
	if len(s.Names) > maxNames {
		return c, f.Errorf("panel.names", "got %d, want %d at most", len(s.Names), maxNames)
	}
	for _, n := range s.Names {
		if n == "" || len(n) > 253 || strings.ContainsAny(n, "/:@ ") || strings.ToLower(n) != n {
			return c, f.Errorf("panel.names", "got %q, want a host name in small letters", n)
		}
	}
	c.Names = append(c.Names, s.Names...)
	c.Records, err = records(s.Records)
	if err != nil {
		return c, f.Errorf("panel.records", "%v", err)
	}
	return c, telemetry(f, s.telemetrySection, &c)
}

func endpoint(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n > 0 && n < 1<<16
}

type badURL string

func (u badURL) Error() string {
	return "got " + strconv.Quote(string(u)) + ", want sync.apps.base and /fhir/R4: an https URL without query"
}

func records(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, " ;,'\"") {
		return "", badURL(text)
	}
	return strings.TrimSuffix(text, "/"), nil
}
