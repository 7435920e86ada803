// Package caller reads from a request of the LAN who makes it. Its one guarantee: a
// caller has a name, which is that of the certificate the connection was opened with,
// and speaks for itself only if the site lets it and no token came along.
package caller

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// Caller is a device, and the token of the person at it.
type Caller struct {
	Name   string // of the certificate
	Peer   string // x5t#S256 of the certificate (RFC 8705 §3.1)
	Itself bool   // the device speaks for itself: there is no person
	Token  string // else; empty: none came
}

// Of is who makes the request; devices may speak for themselves.
func Of(r *http.Request, devices []string) (Caller, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Caller{}, errors.New("no client certificate")
	}
	cert := r.TLS.PeerCertificates[0]
	sum := sha256.Sum256(cert.Raw)
	c := Caller{Name: cert.Subject.CommonName, Peer: base64.RawURLEncoding.EncodeToString(sum[:])}
	if c.Name == "" || len(c.Name) > 64 || strings.ContainsFunc(c.Name, unicode.IsControl) {
		return c, errors.New("the certificate's common name must have 1 to 64 characters")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" && slices.Contains(devices, c.Name) {
		c.Itself = true
		return c, nil
	}
	if strings.EqualFold(scheme, "Bearer") {
		c.Token = strings.TrimSpace(token)
	}
	return c, nil
}
