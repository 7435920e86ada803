package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"clinicgate/syncd/config"
	"clinicgate/syncd/deliver/broker"
	"clinicgate/syncd/deliver/document"
	"clinicgate/syncd/deliver/progress"
)

// brokerSender is the sender of a destination over MQTT.
func (s *state) brokerSender(d config.Destination, user, password string) *broker.Sender {
	return &broker.Sender{
		Addr: d.URL.Host, Prefix: d.URL.Path[1:], User: user, Password: password, Site: s.cfg.Site.Code,
		TLS:      func() (*tls.Config, error) { return s.brokerTLS(d) },
		Progress: progress.Open(filepath.Join(s.env.State, "mqtt-"+d.Name+".json")),
		Key:      document.Identifier, Receiver: d.Receiver,
	}
}

// brokerTLS reads the certificates anew, as they may have been replaced.
func (s *state) brokerTLS(d config.Destination) (*tls.Config, error) {
	at := filepath.Join(s.env.Secrets, d.Certificate)
	pair, err := tls.LoadX509KeyPair(at+".crt", at+".key")
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.anchor(d.Anchor))
	if err != nil {
		return nil, fmt.Errorf("CA of the broker: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("CA of the broker: got no certificate, want one or more in PEM")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: d.URL.Hostname()}, nil
}
