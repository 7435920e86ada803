package config

import (
	"net/url"
	"strings"
)

// OAuth is how the gateway itself logs in at the EHR: SMART Backend Services.
type OAuth struct {
	ClientID string
	Key      string   // file in secrets/syncd/: a private key in PEM; made where there is none
	TokenURL *url.URL // nil: as the EHR's .well-known/smart-configuration says
	Scope    string
}

type oauthFile struct {
	ClientID string   `toml:"client_id"`
	Key      *string  `toml:"key"`
	TokenURL *string  `toml:"token_url"`
	Scopes   []string `toml:"scopes"`
}

// What a site gets that does not say. Nothing is ever deleted, so no d.
const (
	defaultKey   = "ehr.key"
	defaultScope = "system/*.crus"
)

func (c *check) oauth(in *oauthFile, out *Config) {
	if in == nil {
		return
	}
	o := &OAuth{ClientID: in.ClientID, Key: defaultKey, Scope: defaultScope}
	if !visible(in.ClientID, 255) {
		c.bad("sync.ehr.oauth.client_id", "got %q, want the name under which the EHR has registered this gateway", in.ClientID)
	}
	if in.Key != nil {
		o.Key = c.fileName("sync.ehr.oauth.key", *in.Key)
	}
	if in.TokenURL != nil {
		o.TokenURL = c.url("sync.ehr.oauth.token_url", *in.TokenURL)
		if base := out.EHR.Base; base != nil && base.Scheme == "https" && o.TokenURL.Scheme == "http" {
			c.bad("sync.ehr.oauth.token_url", "got %q, want https as sync.ehr.base has", *in.TokenURL)
		}
	}
	for _, s := range in.Scopes {
		if !visible(s, 128) {
			c.bad("sync.ehr.oauth.scopes", "got %q, want scopes such as %q", s, defaultScope)
		}
	}
	if len(in.Scopes) > 0 {
		o.Scope = strings.Join(in.Scopes, " ")
	}
	out.EHR.OAuth = o
}

// visible says that s is 1 to most characters of ASCII without spaces.
func visible(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
