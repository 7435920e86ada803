package config

import (
	"net/url"
	"strings"
)

// Apps is where programs in a browser come to the records: TLS without a client
// certificate, tokens bound to a key of theirs or to their address. Which programs,
// cardauth says.
type Apps struct {
	Listen string
	Base   string // as browsers reach it: "https://host:port"
}

type appsFile struct {
	Listen string `toml:"listen"`
	Base   string `toml:"base"`
}

func (c *check) apps(in *file, out *Config) {
	if in.Apps == nil {
		return
	}
	a := &Apps{Listen: c.listen("sync.apps.listen", in.Apps.Listen), Base: in.Apps.Base}
	if u, err := url.Parse(a.Base); err != nil || u.Scheme != "https" || u.Host == "" || a.Base != "https://"+strings.ToLower(u.Host) {
		c.bad("sync.apps.base", "got %q, want https://host:port as browsers reach it, without a path", a.Base)
	}
	out.Apps = a
}
