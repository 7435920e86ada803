package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"clinicgate/firmware/site"
)

// Apps is where programs in a browser log in, and which.
type Apps struct {
	Listen string // host:port
	Base   string // as browsers reach it: "https://host:port"
	FHIR   string // the records' address that tokens are for: syncd's, for programs
	Apps   []App
	// Browsers say at which addresses a card's PIN may be typed into a page,
	// and the card of which rooms is meant. Anybody else's typing could spend
	// the PIN tries of a card in a reader.
	Browsers []Browser
}

// App is one program.
type App struct {
	ID        string
	Name      string
	Redirects []string
	Origins   []string // of the redirects
	Scopes    string
	Bind      string // "dpop" or "address"
}

// Browser is a computer where a card's PIN may be typed into a page.
type Browser struct {
	Address netip.Addr
	Room    string
}

type appsSection struct {
	Listen string `toml:"listen"`
	Base   string `toml:"base"`
	FHIR   string `toml:"fhir"`
}

type appSection struct {
	ID        string   `toml:"client_id"`
	Name      string   `toml:"name"`
	Redirects []string `toml:"redirect_uris"`
	Scopes    []string `toml:"scopes"`
	Bind      string   `toml:"bind"`
}

type browserSection struct {
	Address string `toml:"address"`
	Room    string `toml:"room"`
}

func apps(f *site.File, s section, readers []Reader) (*Apps, error) {
	if s.Apps == nil {
		if len(s.App) > 0 || len(s.Browser) > 0 {
			return nil, f.Errorf("card.app", "got programs, want [card.apps] that says where they log in")
		}
		return nil, nil
	}
	a := &Apps{Listen: s.Apps.Listen, Base: s.Apps.Base, FHIR: s.Apps.FHIR}
	if _, port, err := net.SplitHostPort(a.Listen); err != nil || port == "" {
		return nil, f.Errorf("card.apps.listen", "got %q, want an address and port such as \":8446\"", a.Listen)
	}
	if u, err := url.Parse(a.Base); err != nil || u.Scheme != "https" || u.Host == "" || a.Base != "https://"+strings.ToLower(u.Host) {
		return nil, f.Errorf("card.apps.base", "got %q, want https://host:port as browsers reach it, without a path", a.Base)
	}
	if u, err := url.Parse(a.FHIR); err != nil || u.Scheme != "https" || u.Host == "" || u.Path == "" || strings.HasSuffix(a.FHIR, "/") || u.RawQuery+u.Fragment != "" {
		return nil, f.Errorf("card.apps.fhir", "got %q, want the records' address for programs, such as https://gateway.internal:8447/fhir/R4", a.FHIR)
	}
	if len(s.App) == 0 {
		return nil, f.Errorf("card.app", "got none, want at least one [[card.app]]")
	}
	for i, one := range s.App {
		app, err := registration(f, i, one, a.Apps)
		if err != nil {
			return nil, err
		}
		a.Apps = append(a.Apps, app)
	}
	var err error
	a.Browsers, err = browsers(f, s.Browser, readers)
	return a, err
}

// registration checks one program.
func registration(f *site.File, i int, s appSection, before []App) (App, error) {
	key := func(k string) string { return fmt.Sprintf("card.app[%d].%s", i, k) }
	a := App{ID: s.ID, Name: s.Name, Redirects: s.Redirects, Bind: s.Bind, Scopes: strings.Join(s.Scopes, " ")}
	switch {
	case s.ID == "" || len(s.ID) > 64 || strings.ContainsFunc(s.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
		return App{}, f.Errorf(key("client_id"), "got %q, want 1 to 64 printable characters", s.ID)
	case slices.ContainsFunc(before, func(b App) bool { return b.ID == s.ID }):
		return App{}, f.Errorf(key("client_id"), "%q is registered already", s.ID)
	case s.Name == "" || len(s.Name) > 64:
		return App{}, f.Errorf(key("name"), "got %q, want what people call the program, 1 to 64 characters", s.Name)
	case s.Bind != "dpop" && s.Bind != "address":
		return App{}, f.Errorf(key("bind"), "got %q, want \"dpop\", or \"address\" for a program that doesn't know DPoP", s.Bind)
	case len(s.Redirects) == 0:
		return App{}, f.Errorf(key("redirect_uris"), "got none, want the addresses the program is answered at")
	case len(s.Scopes) == 0:
		return App{}, f.Errorf(key("scopes"), "got none, want what the program may ask for, such as \"user/*.rs\"")
	}
	for _, one := range s.Scopes {
		if strings.ContainsAny(one, " \t\"\\") || one == "" {
			return App{}, f.Errorf(key("scopes"), "got %q, want one scope a string", one)
		}
	}
	for _, back := range s.Redirects {
		u, err := url.Parse(back)
		loopback := err == nil && u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1")
		if err != nil || u.Scheme != "https" && !loopback || u.Host == "" || u.User != nil || strings.Contains(back, "#") || u.RawQuery != "" || u.Path == "" {
			return App{}, f.Errorf(key("redirect_uris"), "got %q, want https with a host and a path, and no query or fragment", back)
		}
		if origin := u.Scheme + "://" + strings.ToLower(u.Host); !slices.Contains(a.Origins, origin) {
			a.Origins = append(a.Origins, origin)
		}
	}
	return a, nil
}

func browsers(f *site.File, all []browserSection, readers []Reader) (out []Browser, err error) {
	for i, b := range all {
		key := func(k string) string { return fmt.Sprintf("card.browser[%d].%s", i, k) }
		addr, err := netip.ParseAddr(b.Address)
		if err != nil {
			return nil, f.Errorf(key("address"), "got %q, want the address of a computer", b.Address)
		}
		if !slices.ContainsFunc(readers, func(r Reader) bool { return r.Room == b.Room && !r.Agent && !r.Patients }) {
			return nil, f.Errorf(key("room"), "got %q, want a room with a reader of the gateway's own for staff", b.Room)
		}
		out = append(out, Browser{addr.Unmap(), b.Room})
	}
	return out, nil
}
