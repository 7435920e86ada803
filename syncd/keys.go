package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/tpm"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/vault"
	"clinicgate/syncd/vault/remote"
)

// tpmDevice is the TPM through the kernel's resource manager.
const tpmDevice = "/dev/tpmrm0"

// The box's certificate for the third party, in its secrets.
const (
	trusteeCert = "trustee.crt"
	trusteeKey  = "trustee.key"
)

// Waits for the third party.
const (
	firstDeeds = 5 * time.Second // at a start that can't do without it
	askAgain   = time.Minute     // after a failure
)

// openVault opens the keys, and removes the stores of what was shredded.
func (s *state) openVault() (err error) {
	o := vault.Options{Dir: s.env.Secrets, Site: s.cfg.Site.Code,
		TPM: func() (io.ReadWriteCloser, error) { return tpm.Open(tpmDevice) }}
	if s.cfg.Vault == nil {
		// A TPM that failed would take every record and upload with it.
		o.Unbound = "no third party could bring the keys back if the TPM failed"
	}
	if c := s.cfg.Vault; c != nil {
		client := remote.New(c.Trustee, s.anchor(c.CA), filepath.Join(s.env.Secrets, trusteeCert), filepath.Join(s.env.Secrets, trusteeKey))
		s.keys = &keeper{s: s, end: make(chan error, 1)}
		if o.Box, err = client.Name(); err != nil {
			s.keys.why = err // what is on the disk opens without it
		}
		o.Trustee, o.Shared = client, c.Shared
	}
	if s.vault, err = vault.New(o); err != nil {
		return err
	}
	if s.keys != nil && s.vault.Wants() {
		ctx, cancel := context.WithTimeout(context.Background(), firstDeeds)
		_, err = s.vault.Refresh(ctx)
		cancel()
		s.keys.told(time.Now(), err)
	}
	for _, name := range vault.Local() {
		if err := s.vault.Domain(name).Err(); err != nil {
			return errors.Join(err, s.keys.last())
		}
	}
	return s.wipe()
}

// stores are the folders in which a domain's data lies.
func stores(domain string) []string {
	switch domain {
	case vault.Cache:
		return []string{"cache"}
	case vault.Audit:
		return []string{"trail"}
	case vault.Uploads:
		return []string{"queue", "parts"}
	case vault.Devices:
		return []string{"mqtt"}
	case vault.Consults:
		return []string{"consults"}
	}
	return nil
}

// wipe removes what opens never again, and says so.
//
//	stop before Wiped: the next start removes what is left
func (s *state) wipe() error {
	for _, name := range s.vault.Wipe() {
		for _, dir := range stores(name) {
			if err := os.RemoveAll(filepath.Join(s.env.State, dir)); err != nil {
				return fmt.Errorf("remove what was shredded: %w", err)
			}
		}
		err := durable.SyncDir(s.env.State)
		if err == nil {
			err = s.vault.Wiped(name)
		}
		if err != nil {
			return fmt.Errorf("remove what was shredded: %w", err)
		}
		s.env.Log.Warn("shredded by the manager of its domain", "domain", name)
		s.env.Faults.Raise(wire.Fault{
			ID: faultShredded, Severity: wire.Warning, Where: name,
			What: "what was stored was shredded by the manager of its keys; the store begins empty",
			Do:   "nothing, if that was meant; else ask who manages the site's keys",
		})
	}
	return nil
}

// A keeper keeps the keys from the third party good.
type keeper struct {
	s   *state
	end chan error // what a person's question found

	mu    sync.Mutex
	asked time.Time // it last answered well
	why   error     // it does not now
}

func (k *keeper) tasks() []daemon.Task {
	if k == nil {
		return nil
	}
	return []daemon.Task{
		{Name: "deeds", Run: k.ask},
		{Name: "bound of the keys", Run: k.watch},
	}
}

// ask asks from time to time. It ends the daemon when stores must begin anew.
func (k *keeper) ask(ctx context.Context) error {
	for wait := 2 * time.Second; ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-k.end:
			return err
		case <-time.After(wait):
		}
		wait = k.s.cfg.Vault.Every
		if err := k.once(ctx); err != nil {
			return err
		}
		if k.last() != nil {
			wait = min(askAgain, wait)
		}
	}
}

// once asks for every deed. The error is for the daemon to end with.
func (k *keeper) once(ctx context.Context) error {
	news, err := k.s.vault.Refresh(ctx)
	if ctx.Err() != nil {
		return nil
	}
	k.told(time.Now(), err)
	for _, name := range news.Rotated {
		k.s.env.Log.Info("a new key is in use", "domain", name)
	}
	if len(news.Shredded) > 0 {
		return fmt.Errorf("%v shredded by the manager of its keys: the stores begin anew", news.Shredded)
	}
	return k.s.vault.Locked()
}

// watch ends the daemon when its keys may be used no more: what is open goes, and
// comes back when New says that it may.
func (k *keeper) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err := k.s.vault.Locked(); err != nil {
			return err
		}
	}
}

// told keeps what came of asking.
func (k *keeper) told(now time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.why = err; err == nil {
		k.asked = now
	}
}

// last is why the third party does not answer, or does not give.
func (k *keeper) last() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why
}

// faults says that the third party is missing: to those who enrol boxes at once, to
// the clinic when a quarter of the time is left.
func (k *keeper) faults(now time.Time) []wire.Fault {
	why := k.last()
	if why == nil {
		return nil
	}
	f := wire.Fault{Severity: wire.Warning, Where: k.s.cfg.Vault.Trustee.Host, What: fmt.Sprintf("the third party gives no keys: %v", why),
		Do: "see the tunnel, and that this box is enrolled with the key that gatectl keys shows"}
	late := false
	for _, h := range k.s.vault.Holdings() {
		if h.Until.IsZero() {
			continue
		}
		late = late || h.Until.Sub(now) < h.Until.Sub(h.At)/4
		f.What += fmt.Sprintf("; %s works without until %s", h.Domain, h.Until.UTC().Format(time.DateTime))
	}
	if late {
		f.Severity = wire.Alarm
		f.Do += "; after that time no record is shown and no upload taken until it answers"
	}
	return []wire.Fault{f}
}

// keyRoutes are what a technician may ask about the keys.
func (s *state) keyRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.keysShown()) })
	mux.HandleFunc("POST /keys/refresh", func(w http.ResponseWriter, r *http.Request) {
		if s.keys == nil {
			http.Error(w, "the site names no third party (sync.vault)", http.StatusConflict)
			return
		}
		if err := s.keys.once(r.Context()); err != nil {
			select {
			case s.keys.end <- err:
			default: // it ends already
			}
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		if err := s.keys.last(); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		reply(w, http.StatusOK, s.keysShown())
	})
}

func (s *state) keysShown() wire.Keys {
	k := wire.Keys{V: 1, By: s.vault.State(), Wrap: s.vault.Fingerprint(), Domains: []wire.Domain{}}
	if s.keys != nil {
		k.Trustee = s.cfg.Vault.Trustee.String()
		if err := s.keys.last(); err != nil {
			k.Why = err.Error()
		}
		s.keys.mu.Lock()
		k.Asked = s.keys.asked.UTC().Truncate(time.Second)
		s.keys.mu.Unlock()
		if k.Asked.Unix() < 0 {
			k.Asked = time.Time{}
		}
	}
	for _, h := range s.vault.Holdings() {
		k.Domains = append(k.Domains, wire.Domain{Name: h.Domain, Use: h.Use, Own: h.Own, May: h.May, Until: h.Until, Why: h.Why})
	}
	return k
}
