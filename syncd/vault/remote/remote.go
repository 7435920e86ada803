// Package remote asks the trusted third party over mutual TLS. Its guarantee: it
// talks to nobody but a holder of a certificate from the site's anchor for it, and
// an answer, good or bad, has an end.
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"clinicgate/syncd/vault"
	"clinicgate/syncd/vault/deed"
)

// limit bounds one question, and maxAnswer its answer.
const (
	limit     = 20 * time.Second
	maxAnswer = 256 << 10
)

// A Client asks one third party. Safe for concurrent use. The certificate is read
// for each connection: one that was renewed counts at once.
type Client struct {
	base *url.URL
	http *http.Client
	who  func() (*tls.Certificate, error)
}

// New asks at base, an https URL, whose certificate is from the CA in anchor. The
// box shows cert and key, files in PEM.
func New(base *url.URL, anchor, cert, key string) *Client {
	load := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(cert, key)
		return &c, err
	}
	c := &Client{base: base, who: load}
	c.http = &http.Client{
		Timeout:       limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, // once an hour
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // the anchor is read below, at each connection
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
				VerifyConnection:     func(s tls.ConnectionState) error { return verify(s, base.Hostname(), anchor) },
			},
		},
	}
	return c
}

// verify is what crypto/tls does with RootCAs, with those that the file has now.
func verify(s tls.ConnectionState, host, anchor string) error {
	pem, err := os.ReadFile(anchor)
	if err != nil {
		return fmt.Errorf("CA of the third party: %w", err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA of the third party: %s: got no certificate, want one or more in PEM", anchor)
	}
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	return err
}

// Name is the common name in the box's certificate: what the third party knows it by.
func (c *Client) Name() (string, error) {
	pair, err := c.who()
	if err != nil {
		return "", fmt.Errorf("certificate for the third party: %w", err)
	}
	return pair.Leaf.Subject.CommonName, nil
}

// Deed asks for the deed of a domain, sealed to point.
func (c *Client) Deed(ctx context.Context, domain string, point []byte) ([]byte, error) {
	var a deed.Answer
	err := c.Do(ctx, "deed", deed.Ask{V: 1, Domain: domain, Key: point}, &a)
	if err == nil && a.V != 1 {
		err = fmt.Errorf("ask the third party: got version %d, want 1", a.V)
	}
	return a.Sealed, err
}

// Do puts one question, at /v1/WHAT, and reads the answer into v. A *vault.Denied
// is its no.
func (c *Client) Do(ctx context.Context, what string, ask, v any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("ask the third party: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.base.String(), "/")+"/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the third party: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the third party: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the third party: %w", err)
	}
	if err := answer(resp.StatusCode, text, v); err != nil {
		return fmt.Errorf("ask the third party: %w", err)
	}
	return nil
}

// answer reads what came. Only the third party's own words are a no: a 403 of
// something in between locks no box.
func answer(code int, text []byte, v any) error {
	if code == http.StatusOK {
		return json.Unmarshal(text, v)
	}
	var no deed.Refusal
	if json.Unmarshal(text, &no) != nil || len(no.Detail) > 1<<10 {
		return fmt.Errorf("it answers %d", code)
	}
	switch no.Type {
	case deed.RefusedAccess, deed.RefusedKey:
		return &vault.Denied{Type: no.Type, Detail: no.Detail}
	case deed.RefusedRequest:
		return errors.New(no.Detail)
	}
	return fmt.Errorf("it answers %d", code)
}
