// Package config reads [update] of the site file. What Parse returns needs no
// further check.
package config

import (
	"fmt"
	"net/url"
	"time"

	"clinicgate/firmware/release"
	"clinicgate/firmware/site"
	"clinicgate/firmware/update/turn"
)

// Config is the checked section.
type Config struct {
	Site    site.Identity
	Depot   *url.URL // nil: no updates by the net
	Ring    string
	Every   time.Duration
	Windows []turn.Window
}

type section struct {
	Depot   string        `toml:"depot"`
	Ring    string        `toml:"ring"`
	Every   site.Duration `toml:"every"`
	Windows []string      `toml:"hours"`
}

// Defaults and limits.
const (
	defaultRing = "all"
	defaultLook = time.Hour
	leastLook   = time.Second
	maxWindows  = 8
)

// Parse reads the section; without one the box takes no updates by the net.
func Parse(f *site.File) (Config, error) {
	c := Config{Ring: defaultRing, Every: defaultLook}
	var err error
	if c.Site, err = f.Identity(); err != nil {
		return c, err
	}
	if !f.Has("update") {
		return c, nil
	}
	var s section
	if err := f.Decode("update", &s); err != nil {
		return c, err
	}
	if c.Depot, err = url.Parse(s.Depot); err != nil || c.Depot.Host == "" || c.Depot.Scheme != "http" && c.Depot.Scheme != "https" {
		return c, f.Errorf("update.depot", "got %q, want an http or https URL", s.Depot)
	}
	if s.Ring != "" {
		c.Ring = s.Ring
	}
	if err := release.Name("ring", c.Ring); err != nil {
		return c, f.Errorf("update.ring", "%v", err)
	}
	if d := time.Duration(s.Every); d != 0 {
		c.Every = d
	}
	if c.Every < leastLook {
		return c, f.Errorf("update.every", "got %v, want %v or more", c.Every, leastLook)
	}
	if len(s.Windows) > maxWindows {
		return c, f.Errorf("update.hours", "got %d, want %d at most", len(s.Windows), maxWindows)
	}
	for _, text := range s.Windows {
		w, err := parseWindow(text)
		if err != nil {
			return c, f.Errorf("update.hours", "%v", err)
		}
		c.Windows = append(c.Windows, w)
	}
	return c, nil
}

// parseWindow reads "02:00-04:30".
func parseWindow(text string) (turn.Window, error) {
	var h1, m1, h2, m2 int
	n, err := fmt.Sscanf(text, "%2d:%2d-%2d:%2d", &h1, &m1, &h2, &m2)
	if err != nil || n != 4 || len(text) != len("02:00-04:30") || h1 > 23 || h2 > 24 || m1 > 59 || m2 > 59 || h1 < 0 || h2 < 0 || m1 < 0 || m2 < 0 {
		return turn.Window{}, fmt.Errorf("got %.40q, want hours such as \"02:00-04:30\"", text)
	}
	at := func(h, m int) time.Duration { return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute }
	return turn.Window{From: at(h1, m1), To: at(h2, m2)}, nil
}
