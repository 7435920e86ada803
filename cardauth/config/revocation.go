package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"time"

	"clinicgate/firmware/site"
)

// Revocation is how lists of revoked cards are held against cards. Lists that are
// here are always held; without the section their age is not.
type Revocation struct {
	Stale      time.Duration // so long out of date all is allowed
	Restricted time.Duration // so long reading; then emergencies only
	HotlistKey ed25519.PublicKey
}

type revocationSection struct {
	Stale      string `toml:"stale"`
	Restricted string `toml:"restricted"`
	HotlistKey string `toml:"hotlist_key"`
}

// maxPatience is the longest a site may wait for new lists.
const maxPatience = 90 * 24 * time.Hour

// revocation returns nil without the section.
func revocation(f *site.File, s section) (*Revocation, error) {
	if s.Revocation == nil {
		return nil, nil
	}
	r := &Revocation{Stale: 72 * time.Hour, Restricted: 14 * 24 * time.Hour}
	for _, d := range []struct {
		key, text string
		into      *time.Duration
	}{{"card.revocation.stale", s.Revocation.Stale, &r.Stale}, {"card.revocation.restricted", s.Revocation.Restricted, &r.Restricted}} {
		if d.text == "" {
			continue
		}
		v, err := time.ParseDuration(d.text)
		if err != nil || v < 0 || v > maxPatience {
			return nil, f.Errorf(d.key, "got %q, want a duration from 0s to %v", d.text, maxPatience)
		}
		*d.into = v
	}
	if r.Restricted < r.Stale {
		return nil, f.Errorf("card.revocation.restricted", "got %v, want no less than stale, %v", r.Restricted, r.Stale)
	}
	if text := s.Revocation.HotlistKey; text != "" {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, f.Errorf("card.revocation.hotlist_key", "got %q, want an Ed25519 public key in base64", text)
		}
		r.HotlistKey = key
	}
	return r, nil
}
