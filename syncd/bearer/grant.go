package bearer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of what a token endpoint and the EHR's description of itself may say.
const (
	maxAnswer  = 64 << 10
	maxToken   = 16 << 10
	maxLife    = 24 * time.Hour
	minLife    = 5 * time.Second // one for less would be asked for without end
	unsaidLife = time.Minute     // RFC 6749 §5.1 only recommends expires_in
)

// token is what a token endpoint gave.
type token struct {
	text string
	life time.Duration
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// grant asks for a token at place, or where the EHR says if that is empty. It
// returns where it asked.
func (o Options) grant(ctx context.Context, place string) (token, string, error) {
	if place == "" {
		var err error
		if place, err = o.discover(ctx); err != nil {
			return token{}, "", err
		}
	}
	assertion, err := o.Key.assert(o.ClientID, place, time.Now())
	if err != nil {
		return token{}, place, err
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {o.Scope},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, place, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, place, fmt.Errorf("%w: its address can't be used", ErrRefused)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := o.exchange(r)
	if err != nil {
		return token{}, place, err
	}
	t, err := parseToken(status, body)
	return t, place, err
}

// discover reads where tokens are given (SMART App Launch 2, §conformance).
func (o Options) discover(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Base.String()+"/.well-known/smart-configuration", nil)
	if err != nil {
		return "", fmt.Errorf("%w: the EHR's address can't be used", ErrRefused)
	}
	status, body, err := o.exchange(r)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("%w: the EHR does not say where it is (%d to .well-known/smart-configuration): set sync.ehr.oauth.token_url", ErrRefused, status)
	}
	return parsePlace(body, o.Base.Scheme == "https", o.Key.Alg())
}

// exchange asks and reads the whole answer, within bounds.
func (o Options) exchange(r *http.Request) (status int, body []byte, err error) {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "clinicgate")
	resp, err := o.HTTP.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrSilent, bare(err))
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("%w: %w", ErrSilent, err)
	case len(body) > maxAnswer:
		return 0, nil, fmt.Errorf("%w: it answers more than %d KiB", ErrRefused, maxAnswer>>10)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return 0, nil, fmt.Errorf("%w: status %d", ErrSilent, resp.StatusCode)
	}
	return resp.StatusCode, body, nil
}

// parseToken reads a token endpoint's answer (RFC 6749 §5).
func parseToken(status int, body []byte) (token, error) {
	var got struct {
		Token string  `json:"access_token"`
		Type  string  `json:"token_type"`
		Life  float64 `json:"expires_in"`
		Error string  `json:"error"`
	}
	err := json.Unmarshal(body, &got)
	if status != http.StatusOK {
		if err != nil || !word(got.Error, 64) {
			return token{}, fmt.Errorf("%w: status %d", ErrRefused, status)
		}
		return token{}, fmt.Errorf("%w: %s", ErrRefused, got.Error)
	}
	switch {
	case err != nil:
		return token{}, fmt.Errorf("%w: its answer is not JSON", ErrRefused)
	case !word(got.Token, maxToken):
		return token{}, fmt.Errorf("%w: got no usable access_token of %d bytes, want 1 to %d", ErrRefused, len(got.Token), maxToken)
	case !strings.EqualFold(got.Type, "Bearer"):
		return token{}, fmt.Errorf("%w: got token_type %.20q, want bearer", ErrRefused, got.Type)
	}
	t := token{got.Token, unsaidLife}
	if got.Life != 0 {
		t.life = time.Duration(min(max(got.Life, 0), maxLife.Seconds()) * float64(time.Second))
	}
	if t.life < minLife {
		return token{}, fmt.Errorf("%w: it gives tokens for %v, want %v or more", ErrRefused, t.life, minLife)
	}
	return t, nil
}

// parsePlace reads the EHR's description of how to log in.
func parsePlace(body []byte, https bool, alg string) (string, error) {
	var got struct {
		Place   string   `json:"token_endpoint"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Algs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	}
	if json.Unmarshal(body, &got) != nil {
		return "", fmt.Errorf("%w: the EHR's smart-configuration is not JSON", ErrRefused)
	}
	u, err := url.Parse(got.Place)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (https || u.Scheme != "http"):
		return "", fmt.Errorf("%w: the EHR says it is at %.80q, want an https address", ErrRefused, got.Place)
	case got.Methods != nil && !slices.Contains(got.Methods, "private_key_jwt"):
		return "", fmt.Errorf("%w: the EHR takes %.80q, want private_key_jwt", ErrRefused, got.Methods)
	case got.Algs != nil && !slices.Contains(got.Algs, alg):
		return "", fmt.Errorf("%w: the EHR takes signatures by %.80q, and the key in secrets is for %s", ErrRefused, got.Algs, alg)
	}
	return u.String(), nil
}

// word says that s is 1 to most visible ASCII characters: fit for a header or a log.
func word(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
