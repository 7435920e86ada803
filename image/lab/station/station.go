// Package station is the workstation in the consulting room: it signs in with the
// card in the reader and reads records, as its software would. It guarantees that
// every request leaves from the workstation's place on the LAN with the
// workstation's certificate, and believes only the clinic's own gateway.
package station

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
	"os"
	"strings"
	"time"

	"clinicgate/firmware/lab/netns"
)

// Config says where the workstation stands.
type Config struct {
	Space     *netns.Space
	Gateway   string // IP address
	Name      string // the gateway's, in its certificate
	CA        string // files
	Cert, Key string
}

// Station is a workstation.
type Station struct {
	http    http.Client
	gateway string
}

// Ports of the box's services for workstations.
const (
	cardPort = "8444"
	fhirPort = "8443"
)

// patience is how long the doctor waits for an answer: longer than the gateway waits
// for a key of its own (serve.signing).
const patience = 45 * time.Second

// New sets a workstation up.
func New(c Config) (*Station, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("set up workstation: %w", err)
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("set up workstation: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("set up workstation: no certificate in %s", c.CA)
	}
	transport := &http.Transport{
		DialContext:     c.Space.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: c.Name},
		IdleConnTimeout: 5 * time.Second,
	}
	return &Station{http: http.Client{Transport: transport, Timeout: patience}, gateway: c.Gateway}, nil
}

// Login is what a good card and PIN give.
type Login struct {
	Token     string `json:"token"`
	ExpiresIn int    `json:"expires_in"` // seconds
	Session   struct {
		ID   string `json:"sid"`
		Role string `json:"role"`
		Sub  string `json:"sub"`
		Room string `json:"room"`
	} `json:"session"`
}

// Refusal is the gateway's no (RFC 9457).
type Refusal struct {
	Status    int
	Type      string `json:"type"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	TriesLeft *int   `json:"tries_left"`
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused: %d %s: %s %s", r.Status, r.Type, r.Title, r.Detail)
}

// Of says whether the refusal is of the kind named last in its type.
func (r *Refusal) Of(kind string) bool {
	return r.Type == kind || strings.HasSuffix(r.Type, ":"+kind) || strings.HasSuffix(r.Type, "/"+kind)
}

// Login signs in with the card in the room's reader.
func (s *Station) Login(ctx context.Context, room, pin string) (*Login, error) {
	return s.card(ctx, "login", "", map[string]string{"room": room, "pin": pin})
}

// Renew exchanges a token for a fresh one.
func (s *Station) Renew(ctx context.Context, token string) (*Login, error) {
	return s.card(ctx, "renew", token, nil)
}

// card calls cardauth; a refusal is a *Refusal.
func (s *Station) card(ctx context.Context, act, token string, in any) (*Login, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	a, err := s.do(ctx, http.MethodPost, "https://"+s.gateway+":"+cardPort+"/v1/"+act, token, body)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		no := &Refusal{Status: a.Status}
		if err := json.Unmarshal(a.Body, no); err != nil {
			return nil, fmt.Errorf("%s: %d with no problem document: %.200s", act, a.Status, a.Body)
		}
		return nil, no
	}
	login := &Login{}
	if err := json.Unmarshal(a.Body, login); err != nil || login.Token == "" {
		return nil, errors.Join(fmt.Errorf("%s: 200 without a token", act), err)
	}
	return login, nil
}

// Answer is what the gateway says to a read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// Read asks for path below /fhir/R4, such as "Patient/1".
func (s *Station) Read(ctx context.Context, token, path string) (*Answer, error) {
	return s.do(ctx, http.MethodGet, "https://"+s.gateway+":"+fhirPort+"/fhir/R4/"+path, token, nil)
}

func (s *Station) do(ctx context.Context, method, url, token string, body []byte) (*Answer, error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return &Answer{resp.StatusCode, resp.Header, data, time.Since(began)}, nil
}

// Forget closes idle connections, as a workstation whose gateway went away finds
// out that they are dead.
func (s *Station) Forget() { s.http.CloseIdleConnections() }
