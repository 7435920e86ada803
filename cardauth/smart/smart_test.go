package smart

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

var (
	now  = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	fhir = "https://gateway.internal:8447/fhir/R4"
	apps = []App{
		{ID: "chart", Name: "Chart", Redirects: []string{"https://chart.internal/cb", "https://chart.internal/cb2"}, Scopes: "user/*.rs openid fhirUser online_access", Bind: BindKey},
		{ID: "old", Name: "Old", Redirects: []string{"https://old.internal/"}, Scopes: "user/Patient.rs user/Observation.rs", Bind: BindAddr},
	}
)

const verifier = "0123456789012345678901234567890123456789012345"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func good() url.Values {
	return url.Values{
		"client_id": {"chart"}, "redirect_uri": {"https://chart.internal/cb"}, "response_type": {"code"}, "state": {"st"},
		"scope": {"user/*.rs openid"}, "aud": {fhir}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
}

func TestAuthorize(t *testing.T) {
	r, p := Authorize(apps, fhir, good())
	if p != nil || r.App.ID != "chart" || r.Redirect != "https://chart.internal/cb" || r.State != "st" || r.Challenge != challenge() {
		t.Fatalf("got %+v, %v", r, p)
	}
}

// Requests that must not get as far as a PIN, and whether the browser may be sent
// back with the refusal.
func TestAttackAuthorizeRequests(t *testing.T) {
	for name, c := range map[string]struct {
		key, value string
		code       string
		back       bool
	}{
		"another program":                 {"client_id", "evil", InvalidClient, false},
		"no program":                      {"client_id", "", InvalidClient, false},
		"redirect elsewhere":              {"redirect_uri", "https://evil.internal/cb", InvalidRequest, false},
		"redirect with more path":         {"redirect_uri", "https://chart.internal/cb/../x", InvalidRequest, false},
		"redirect with a query":           {"redirect_uri", "https://chart.internal/cb?x=1", InvalidRequest, false},
		"redirect with a user":            {"redirect_uri", "https://chart.internal@evil.internal/cb", InvalidRequest, false},
		"redirect with a fragment":        {"redirect_uri", "https://chart.internal/cb#x", InvalidRequest, false},
		"redirect in other letters":       {"redirect_uri", "https://CHART.internal/cb", InvalidRequest, false},
		"redirect of the other program":   {"redirect_uri", "https://old.internal/", InvalidRequest, false},
		"no redirect":                     {"redirect_uri", "", InvalidRequest, false},
		"a token straight away":           {"response_type", "token", UnsupportedType, true},
		"the answer in the fragment":      {"response_mode", "fragment", InvalidRequest, true},
		"PKCE plain":                      {"code_challenge_method", "plain", InvalidRequest, true},
		"PKCE method left out":            {"code_challenge_method", "", InvalidRequest, true},
		"no PKCE":                         {"code_challenge", "", InvalidRequest, true},
		"a short challenge":               {"code_challenge", "abc", InvalidRequest, true},
		"no state":                        {"state", "", InvalidRequest, true},
		"tokens for another server":       {"aud", "https://evil.internal/fhir", InvalidTarget, true},
		"no audience":                     {"aud", "", InvalidTarget, true},
		"a request object":                {"request", "eyJ", InvalidRequest, true},
		"a request object from elsewhere": {"request_uri", "https://evil.internal/r", InvalidRequest, true},
		"no key's thumbprint":             {"dpop_jkt", "x", InvalidRequest, true},
		"an endless state":                {"state", strings.Repeat("x", 2000), InvalidRequest, false},
	} {
		q := good()
		q.Set(c.key, c.value)
		_, p := Authorize(apps, fhir, q)
		if p == nil || p.Code != c.code || (p.Back != "") != c.back {
			t.Errorf("%s: got %+v, want %s, sent back %v", name, p, c.code, c.back)
		}
	}
	twice := good()
	twice.Add("redirect_uri", "https://evil.internal/")
	if _, p := Authorize(apps, fhir, twice); p == nil || p.Back != "" {
		t.Errorf("a parameter twice: %+v", p)
	}
}

func grant(t *testing.T) Grant {
	t.Helper()
	r, p := Authorize(apps, fhir, good())
	if p != nil {
		t.Fatal(p)
	}
	return Grant{Request: r, Session: "s-1", Granted: "user/*.rs", Addr: "10.20.0.50"}
}

// A code counts once, soon, for its program, address, verifier and key.
func TestAttackCodes(t *testing.T) {
	use := Use{Secret: "code", Client: "chart", Redirect: "https://chart.internal/cb", Verifier: verifier, Bound: "jkt:k"}
	for name, c := range map[string]struct {
		change func(*Use)
		after  time.Duration
	}{
		"unknown":                 {func(u *Use) { u.Secret = "other" }, 0},
		"too old":                 {func(*Use) {}, CodeLife + time.Second},
		"another program's":       {func(u *Use) { u.Client = "old" }, 0},
		"another redirect":        {func(u *Use) { u.Redirect = "https://chart.internal/cb2" }, 0},
		"another verifier":        {func(u *Use) { u.Verifier = strings.Repeat("x", 43) }, 0},
		"no verifier":             {func(u *Use) { u.Verifier = "" }, 0},
		"the challenge as it is":  {func(u *Use) { u.Verifier = challenge() }, 0},
		"no key":                  {func(u *Use) { u.Bound = "" }, 0},
		"an address for a key":    {func(u *Use) { u.Bound = "addr:10.20.0.50" }, 0},
		"nothing behind a prefix": {func(u *Use) { u.Bound = "jkt:" }, 0},
	} {
		l := NewLedger()
		l.AddCode("code", grant(t), now)
		u := use
		c.change(&u)
		if _, stolen, p := l.Redeem(u, now.Add(c.after)); p == nil || stolen {
			t.Errorf("%s: got %v, stolen %v", name, p, stolen)
		}
		if _, _, p := l.Redeem(use, now); p != nil && c.after == 0 && name != "unknown" {
			t.Errorf("%s: the rightful use then: %v", name, p)
		}
	}
	l := NewLedger()
	g := grant(t)
	g.Key = "announced"
	l.AddCode("code", g, now)
	if _, _, p := l.Redeem(use, now); p == nil {
		t.Error("another key than the announced one was taken")
	}
	l.AddCode("code", grant(t), now)
	if got, _, p := l.Redeem(use, now); p != nil || got.Bound != "jkt:k" {
		t.Fatalf("got %+v, %v", got, p)
	}
	if got, stolen, p := l.Redeem(use, now.Add(5*time.Minute)); p == nil || !stolen || got.Session != "s-1" {
		t.Errorf("the second use: %v, stolen %v", p, stolen)
	}
	old := grant(t)
	old.App = &apps[1]
	l.AddCode("a", old, now)
	if _, _, p := l.Redeem(Use{Secret: "a", Client: "old", Redirect: old.Redirect, Verifier: verifier, Bound: "addr:10.20.0.51"}, now); p == nil {
		t.Error("a code was taken from another address")
	}
}

func TestAttackRefreshTokens(t *testing.T) {
	l := NewLedger()
	g := grant(t)
	g.Bound = "jkt:k"
	l.AddRefresh("r", g, now)
	for name, u := range map[string]Use{
		"another program": {Secret: "r", Client: "old", Bound: "jkt:k"},
		"another key":     {Secret: "r", Client: "chart", Bound: "jkt:thief"},
		"unknown":         {Secret: "x", Client: "chart", Bound: "jkt:k"},
	} {
		if _, stolen, p := l.Renew(u, now); p == nil || stolen {
			t.Errorf("%s: got %v", name, p)
		}
	}
	u := Use{Secret: "r", Client: "chart", Bound: "jkt:k"}
	if _, _, p := l.Renew(u, now); p != nil {
		t.Fatal(p)
	}
	if _, stolen, p := l.Renew(u, now); p == nil || !stolen {
		t.Errorf("the second use: %v, stolen %v", p, stolen)
	}
	l.AddRefresh("r2", g, now)
	l.Forget("s-1")
	if _, _, p := l.Renew(Use{Secret: "r2", Client: "chart", Bound: "jkt:k"}, now); p == nil {
		t.Error("a forgotten session's refresh token counts")
	}
}

func TestLedgerIsBounded(t *testing.T) {
	l := NewLedger()
	for i := range maxCodes {
		l.AddCode(fmt.Sprint(i), grant(t), now)
	}
	if l.AddCode("one more", grant(t), now) {
		t.Error("there was room for one more")
	}
	if later := now.Add(CodeLife + time.Second); !l.AddCode("later", grant(t), later) {
		t.Error("old codes made no room")
	}
}

func TestNarrow(t *testing.T) {
	for _, c := range []struct{ wanted, app, role, want string }{
		{"user/*.rs", "user/*.rs", "user/*.rs", "user/*.rs"},
		{"user/*.cruds", "user/*.cruds", "user/*.rs", "user/*.rs"},
		{"user/*.read", "user/*.rs", "user/*.rs", "user/*.rs"},
		{"user/*.rs", "user/Patient.rs user/Observation.r", "user/*.rs", "user/Patient.rs user/Observation.r"},
		{"user/Patient.rs", "user/*.rs", "user/Patient.rs user/Slot.rs", "user/Patient.rs"},
		{"user/Condition.rs", "user/*.rs", "user/Patient.rs", ""},
		{"patient/*.rs", "user/*.rs", "user/*.rs", ""},
		{"system/*.rs", "system/*.rs", "user/*.rs", ""},
		{"user/*.rs openid fhirUser offline_access", "user/*.rs openid fhirUser offline_access", "", "openid fhirUser"},
		{"openid", "user/*.rs", "user/*.rs", ""},
		{"user/*.x user/. /*.r user/Patient.rs?x=y", "user/*.rs", "user/*.rs", ""},
		{"user/*.rs", "user/*.rs", "", ""},
	} {
		if got := Narrow(c.wanted, c.app, c.role); got != c.want {
			t.Errorf("%q in %q as %q: got %q, want %q", c.wanted, c.app, c.role, got, c.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	got := Answer("https://chart.internal/cb", "a b", "https://gateway.internal:8446", map[string]string{"code": "c&d"})
	if got != "https://chart.internal/cb?code=c%26d&iss=https%3A%2F%2Fgateway.internal%3A8446&state=a+b" {
		t.Error(got)
	}
}

func FuzzAuthorize(f *testing.F) {
	f.Add(good().Encode())
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, p := Authorize(apps, fhir, q)
		if p == nil && (r.App == nil || !hash43(r.Challenge)) {
			t.Fatalf("%q got through", query)
		}
		if p != nil && p.Back != "" && p.Back != "https://chart.internal/cb" && p.Back != "https://chart.internal/cb2" && p.Back != "https://old.internal/" {
			t.Fatalf("%q would send the browser to %q", query, p.Back)
		}
		Narrow(q.Get("scope"), apps[0].Scopes, "user/*.rs")
	})
}
