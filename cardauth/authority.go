package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// An authority says whose card a certificate belongs to, by the anchors loaded
// last.
type authority struct {
	env     *daemon.Env
	files   []string
	rules   trust.Rules
	anchors atomic.Pointer[trust.Anchors]
}

func newAuthority(env *daemon.Env, cfg config.Config) *authority {
	return &authority{env: env, files: cfg.Anchors, rules: trust.Rules{Policy: cfg.Policy, Roles: cfg.Roles}}
}

// Faults of anchors.
const (
	faultAnchorMissing = "card.anchor-missing"
	faultAnchorExpired = "card.anchor-expired"
)

// load reads the anchor files in dir. A file that can't be used is a fault and
// leaves the anchors as they were.
func (a *authority) load(dir string, now time.Time) {
	var all []byte
	var missing []wire.Fault
	for _, name := range a.files {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			_, err = trust.ParseAnchors(data)
		}
		if err != nil {
			missing = append(missing, wire.Fault{Severity: wire.Alarm, Where: "anchors/" + name, What: plain(err),
				Do: "put the PEM certificates of the cards' root and issuing CAs there; until then nobody new is trusted"})
			continue
		}
		all = append(append(all, data...), '\n')
	}
	a.env.Faults.Keep(faultAnchorMissing, missing...)
	if len(missing) > 0 {
		return
	}
	anchors, err := trust.ParseAnchors(all)
	if err != nil { // each file was good by itself
		a.env.Log.Error("read anchors", "err", err)
		return
	}
	a.anchors.Store(anchors)
	a.checkExpiry(anchors, now)
}

func (a *authority) checkExpiry(anchors *trust.Anchors, now time.Time) {
	var expired []wire.Fault
	if names := anchors.Expired(now); len(names) > 0 {
		expired = append(expired, wire.Fault{Severity: wire.Alarm, Where: "anchors",
			What: fmt.Sprintf("not valid at %s: %s", now.UTC().Format(time.DateOnly), strings.Join(names, ", ")),
			Do:   "if the date is right, get the new CA certificates from whoever issues the cards; else set the clock"})
	}
	a.env.Faults.Keep(faultAnchorExpired, expired...)
}

// plain cuts folders from a file error.
func plain(err error) string {
	if os.IsNotExist(err) {
		return "no such file"
	}
	return err.Error()
}

// holder decides about one certificate.
func (a *authority) holder(cert *x509.Certificate, now time.Time) (trust.Holder, error) {
	anchors := a.anchors.Load()
	if anchors == nil {
		return trust.Holder{}, &session.Refusal{Kind: session.NotReady, Detail: "the gateway has no trust anchors for cards; tell the technician"}
	}
	return anchors.Holder(cert, a.rules, now)
}
