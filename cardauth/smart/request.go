// Package smart decides about programs in a browser that log in by SMART App
// Launch: whether a request is one of a registered program's, what it may have, and
// whether a code or refresh token is what it seems. Its one guarantee: a code is
// worth something once, soon, to the program and the key it was asked for with. It
// is a function of values; the time is an argument.
package smart

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"slices"
)

// Bindings of a program's tokens.
const (
	BindKey  = "dpop"    // to a key the program proves (RFC 9449)
	BindAddr = "address" // to the workstation's address, for programs that know no keys
)

// An App is a program registered in the site file.
type App struct {
	ID        string
	Name      string // shown to whoever logs in
	Redirects []string
	Origins   []string // of the redirects
	Scopes    string
	Bind      string
}

// A Request is an authorization request that holds.
type Request struct {
	App       *App
	Redirect  string
	State     string
	Scope     string // as wanted
	Challenge string // PKCE, S256
	Nonce     string // OpenID Connect
	Key       string // dpop_jkt, if it was sent
}

// A Problem is a request that does not hold, in OAuth's words.
type Problem struct {
	Code   string // "invalid_request" and the like
	Detail string
	// Back is where the browser may be sent with it; empty: it must not be
	// sent anywhere, for the address is not one of the program's.
	Back string
}

// Error says what is wrong.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// OAuth's words (RFC 6749 §4.1.2.1, §5.2; RFC 9449 §5).
const (
	InvalidRequest   = "invalid_request"
	InvalidClient    = "invalid_client"
	InvalidGrant     = "invalid_grant"
	InvalidScope     = "invalid_scope"
	UnsupportedType  = "unsupported_response_type"
	UnsupportedGrant = "unsupported_grant_type"
	InvalidTarget    = "invalid_target"
	AccessDenied     = "access_denied"
)

// maxText bounds each parameter.
const maxText = 1024

// Authorize judges the query of an authorization request. fhir is the address of
// the records that tokens are for.
func Authorize(apps []App, fhir string, q url.Values) (Request, *Problem) {
	for key, values := range q {
		if len(values) != 1 || len(values[0]) > maxText { // RFC 6749 §3.1
			return Request{}, &Problem{Code: InvalidRequest, Detail: "a parameter is given twice or too long: " + printable(key)}
		}
	}
	i := slices.IndexFunc(apps, func(a App) bool { return a.ID == q.Get("client_id") })
	if i < 0 {
		return Request{}, &Problem{Code: InvalidClient, Detail: "this program is not registered at this clinic"}
	}
	app := &apps[i]
	back := q.Get("redirect_uri")
	if !slices.Contains(app.Redirects, back) { // exactly: RFC 9700 §4.1.3
		return Request{}, &Problem{Code: InvalidRequest, Detail: "the program wants to be answered at an address that is not registered for it"}
	}
	wrong := func(code, detail string) (Request, *Problem) {
		return Request{}, &Problem{Code: code, Detail: detail, Back: back}
	}
	switch {
	case q.Get("response_type") != "code":
		return wrong(UnsupportedType, "want response_type=code")
	case q.Get("response_mode") != "" && q.Get("response_mode") != "query":
		return wrong(InvalidRequest, "want response_mode=query or none")
	case q.Get("code_challenge_method") != "S256":
		return wrong(InvalidRequest, "want PKCE with code_challenge_method=S256")
	case !hash43(q.Get("code_challenge")):
		return wrong(InvalidRequest, "want a code_challenge of 43 characters")
	case q.Get("state") == "":
		return wrong(InvalidRequest, "want a state")
	case q.Get("aud") != fhir && q.Get("resource") != fhir:
		return wrong(InvalidTarget, "want aud="+fhir)
	case q.Get("request") != "" || q.Get("request_uri") != "":
		return wrong(InvalidRequest, "request objects are not taken")
	case q.Get("dpop_jkt") != "" && (app.Bind != BindKey || !hash43(q.Get("dpop_jkt"))):
		return wrong(InvalidRequest, "want a dpop_jkt of 43 characters, of a program registered for DPoP")
	}
	return Request{
		App: app, Redirect: back, State: q.Get("state"), Scope: q.Get("scope"),
		Challenge: q.Get("code_challenge"), Nonce: q.Get("nonce"), Key: q.Get("dpop_jkt"),
	}, nil
}

func hash43(s string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(raw) == sha256.Size
}

// printable keeps what strangers send from being more than a word.
func printable(s string) string {
	const most = 32
	out := []rune{}
	for _, r := range s {
		if r > ' ' && r < 0x7F && len(out) < most {
			out = append(out, r)
		}
	}
	return string(out)
}

// verified is PKCE's check (RFC 7636 §4.6).
func verified(challenge, verifier string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(challenge)) == 1
}

// Answer is where the browser is sent with the answer to a request: RFC 9207's iss
// tells a program that knows several servers which one it is from.
func Answer(back, state, issuer string, values map[string]string) string {
	u, err := url.Parse(back)
	if err != nil { // it was registered, so it was parsed before
		return back
	}
	q := u.Query()
	for k, v := range values {
		q.Set(k, v)
	}
	if state != "" {
		q.Set("state", state)
	}
	q.Set("iss", issuer)
	u.RawQuery = q.Encode()
	return u.String()
}
