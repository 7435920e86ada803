package main

import (
	"crypto/tls"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// keys is the page's certificate, read again and again: it may be replaced at any
// time.
type keys struct {
	env *daemon.Env
	now atomic.Pointer[tls.Certificate]
}

var errNoKey = errors.New("no certificate yet")

func (k *keys) loaded() bool { return k.now.Load() != nil }

func (k *keys) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := k.now.Load(); c != nil {
				return c, nil
			}
			return nil, errNoKey
		},
	}
}

func (k *keys) renew(time.Time) { k.load() }

// load reads tls.crt and tls.key. With an error what was read before stays.
func (k *keys) load() {
	const id, where = "panel.tls", "page"
	pair, err := tls.LoadX509KeyPair(filepath.Join(k.env.Secrets, "tls.crt"), filepath.Join(k.env.Secrets, "tls.key"))
	if err != nil {
		k.env.Faults.Raise(wire.Fault{
			ID: id, Severity: wire.Warning, Where: where, What: err.Error(),
			Do: "put tls.crt and tls.key of gateway.internal into " + k.env.Secrets + "; until then the page is shown without protection",
		})
	} else {
		k.now.Store(&pair)
		k.env.Faults.Clear(id, where)
	}
	if err := k.env.Publish(wire.PanelFile, &wire.Panel{Protected: k.loaded()}); err != nil {
		k.env.Log.Error("publish", "err", err)
	}
}
