package config

import (
	"net/url"
	"time"

	"clinicgate/firmware/site"
	"clinicgate/syncd/vault/deed"
)

// Vault says who gives out the keys of what is stored. Without it they are the box's
// own.
type Vault struct {
	Trustee *url.URL      // https
	CA      string        // file in site/anchors: of the trustee's certificate
	Every   time.Duration // between two questions
	Shared  []string      // other sites' domains, SITE/NAME
}

type vaultFile struct {
	Trustee string         `toml:"trustee"`
	CA      string         `toml:"ca"`
	Every   *site.Duration `toml:"every"`
	Shared  []string       `toml:"shared"`
}

// maxShared bounds how many other sites' domains a box asks for.
const maxShared = 32

func (c *check) vault(in *file, out *Config) {
	if in.Vault == nil {
		return
	}
	v := &Vault{Trustee: c.url("sync.vault.trustee", in.Vault.Trustee), CA: c.fileName("sync.vault.ca", in.Vault.CA), Shared: in.Vault.Shared}
	if v.Trustee != nil && v.Trustee.Scheme != "https" {
		c.bad("sync.vault.trustee", "got %q, want an https URL", in.Vault.Trustee)
	}
	v.Every = c.duration("sync.vault.every", in.Vault.Every, time.Hour, time.Second, 24*time.Hour)
	if len(v.Shared) > maxShared {
		c.bad("sync.vault.shared", "got %d domains, want at most %d", len(v.Shared), maxShared)
	}
	for _, name := range v.Shared {
		if err := deed.CheckName(name); err != nil {
			c.bad("sync.vault.shared", "%v", err)
		}
	}
	if err := deed.CheckWord(out.Site.Code); err != nil {
		c.bad("site.code", "%v: the site's domains are called by it", err)
	}
	out.Vault = v
}
