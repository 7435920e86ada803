package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	env   *daemon.Env
	rules trust.Rules

	staff, patients anchors
	patientPolicy   x509.OID

	vigil *vigil // set before the first card is judged

	mu   sync.Mutex
	good map[question]verdict
}

// A question is about one certificate, as one kind of key's.
type question struct {
	as   string
	cert [sha256.Size]byte
}

// A verdict is a good one. It holds for those anchors and that time: signatures
// don't change. Lists of revoked cards are asked each time.
type verdict struct {
	in          *trust.Anchors
	holder      trust.Holder
	from, until time.Time
}

// maxGood bounds how many verdicts are remembered.
const maxGood = 1000

// anchors are the trusted authorities for one kind of card.
type anchors struct {
	files []string
	now   atomic.Pointer[trust.Anchors]
	read  []byte // what it was made from; of the goroutine that loads
}

func newAuthority(env *daemon.Env, cfg config.Config) *authority {
	a := &authority{env: env, good: map[question]verdict{}, rules: trust.Rules{Policy: cfg.Policy, Roles: cfg.Roles}}
	a.staff.files = cfg.Anchors
	if p := cfg.Patients; p != nil {
		a.patients.files, a.patientPolicy = p.Anchors, p.Policy
	}
	return a
}

// Faults of anchors.
const (
	faultAnchorMissing = "card.anchor-missing"
	faultAnchorExpired = "card.anchor-expired"
)

// load reads the anchor files in dir. A file that can't be used is a fault and
// leaves the anchors of its kind as they were. It reports a change.
func (a *authority) load(dir string, now time.Time) (changed bool) {
	var missing, expired []wire.Fault
	for _, kind := range []*anchors{&a.staff, &a.patients} {
		m, other := kind.load(dir)
		changed = changed || other
		missing = append(missing, m...)
		if in := kind.now.Load(); in != nil && len(m) == 0 {
			expired = append(expired, outOfDate(in, now)...)
		}
	}
	a.env.Faults.Keep(faultAnchorMissing, missing...)
	a.env.Faults.Keep(faultAnchorExpired, expired...)
	return changed
}

// load reads the files of one kind and says which can't be used.
func (a *anchors) load(dir string) (_ []wire.Fault, changed bool) {
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
	if len(missing) > 0 || len(a.files) == 0 || bytes.Equal(all, a.read) {
		return missing, false
	}
	parsed, err := trust.ParseAnchors(all)
	if err != nil { // each file was good by itself
		return nil, false
	}
	a.read = all
	a.now.Store(parsed)
	return nil, true
}

// outOfDate is the fault of anchors that are not valid now.
func outOfDate(in *trust.Anchors, now time.Time) []wire.Fault {
	names := in.Expired(now)
	if len(names) == 0 {
		return nil
	}
	return []wire.Fault{{Severity: wire.Alarm, Where: "anchors",
		What: fmt.Sprintf("not valid at %s: %s", now.UTC().Format(time.DateOnly), strings.Join(names, ", ")),
		Do:   "if the date is right, get the new CA certificates from whoever issues the cards; else set the clock"}}
}

// plain cuts folders from a file error.
func plain(err error) string {
	if os.IsNotExist(err) {
		return "no such file"
	}
	return err.Error()
}

// holder decides about a professional's certificate.
func (a *authority) holder(cert *x509.Certificate, _ time.Time) (trust.Holder, error) {
	return a.judge(cert, "holder", &a.staff, func(in *trust.Anchors, now time.Time) (trust.Holder, error) { return in.Holder(cert, a.rules, now) })
}

// signer decides about a professional's certificate for signing.
func (a *authority) signer(cert *x509.Certificate, _ time.Time) (trust.Holder, error) {
	return a.judge(cert, "signer", &a.staff, func(in *trust.Anchors, now time.Time) (trust.Holder, error) { return in.Signer(cert, a.rules, now) })
}

// present decides about a professional's certificate for presence.
func (a *authority) present(cert *x509.Certificate, _ time.Time) (trust.Holder, error) {
	return a.judge(cert, "present", &a.staff, func(in *trust.Anchors, now time.Time) (trust.Holder, error) { return in.Present(cert, a.rules, now) })
}

// patient decides about a patient's.
func (a *authority) patient(cert *x509.Certificate, _ time.Time) (trust.Holder, error) {
	return a.judge(cert, "patient", &a.patients, func(in *trust.Anchors, now time.Time) (trust.Holder, error) {
		return in.Patient(cert, a.patientPolicy, now)
	})
}

// judge decides by the anchors of one kind and the lists of revoked cards, at a
// time that does not go back.
func (a *authority) judge(cert *x509.Certificate, as string, kind *anchors, by func(*trust.Anchors, time.Time) (trust.Holder, error)) (trust.Holder, error) {
	in := kind.now.Load()
	if in == nil {
		return trust.Holder{}, notReady()
	}
	now, q := a.vigil.now(), question{as, sha256.Sum256(cert.Raw)}
	h, known := a.known(q, in, now)
	var err error
	if !known {
		if h, err = by(in, now); err == nil {
			a.remember(q, verdict{in, h, now, in.Steady(cert, now)})
		}
	}
	if err == nil {
		err = a.vigil.lists.Now().Check(cert, h, in)
	}
	return h, err
}

// known is a verdict that still holds.
func (a *authority) known(q question, in *trust.Anchors, now time.Time) (trust.Holder, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.good[q]
	return v.holder, ok && v.in == in && !now.Before(v.from) && !now.After(v.until)
}

func (a *authority) remember(q question, v verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.good) >= maxGood {
		clear(a.good)
	}
	a.good[q] = v
}

func notReady() error {
	return &session.Refusal{Kind: session.NotReady, Detail: "the gateway has no trust anchors for cards; tell the technician"}
}
