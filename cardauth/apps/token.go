package apps

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/smart"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/dpop"
	"clinicgate/firmware/wire"
)

// DPoP's words (RFC 9449 §5, §8).
const (
	useNonce     = "use_dpop_nonce"
	invalidProof = "invalid_dpop_proof"
)

// token: a program hands in a code or a refresh token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	s.cors(w, r)
	now := time.Now()
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_ = http.NewResponseController(w).SetReadDeadline(now.Add(bodyTime)) // only a writer of a test can't
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, smart.InvalidRequest, "the form could not be read")
		return
	}
	app, p := s.client(r, r.PostForm)
	if p != nil {
		oauthError(w, http.StatusBadRequest, p.Code, p.Detail)
		return
	}
	bound, err := s.bound(r, app, now)
	w.Header().Set("DPoP-Nonce", s.guard.Nonce(now))
	if err != nil {
		code := invalidProof
		if errors.Is(err, dpop.ErrNonce) {
			code = useNonce
		}
		oauthError(w, http.StatusBadRequest, code, err.Error())
		return
	}
	s.exchange(w, r.PostForm, app, bound, now)
}

// client is the program a request is from. Its page's origin must be one of its
// own; programs without a browser send none.
func (s *Server) client(r *http.Request, in url.Values) (*smart.App, *smart.Problem) {
	for _, v := range in {
		if len(v) != 1 {
			return nil, &smart.Problem{Code: smart.InvalidRequest, Detail: "a parameter is given twice"}
		}
	}
	i := slices.IndexFunc(s.Apps, func(a smart.App) bool { return a.ID == in.Get("client_id") })
	if i < 0 {
		return nil, &smart.Problem{Code: smart.InvalidClient, Detail: "this program is not registered at this clinic"}
	}
	if o := r.Header.Get("Origin"); o != "" && !slices.Contains(s.Apps[i].Origins, o) {
		return nil, &smart.Problem{Code: smart.InvalidClient, Detail: "the request is from a page that is not the program's"}
	}
	return &s.Apps[i], nil
}

// bound is what the program's tokens will be bound to: the key it proves, or its
// address.
func (s *Server) bound(r *http.Request, app *smart.App, now time.Time) (string, error) {
	if app.Bind == smart.BindAddr {
		return wire.BoundAddr + caller(r).String(), nil
	}
	headers := r.Header.Values("DPoP")
	if len(headers) != 1 {
		return "", dpop.ErrNonce // tells a program that began without one how to go on
	}
	p, err := dpop.Parse(headers[0], dpop.Want{Method: r.Method, URL: s.Base + "/token"}, now)
	if err == nil {
		err = s.guard.Use(p, now)
	}
	return wire.BoundKey + p.Key, err
}

// exchange gives tokens for a code or a refresh token.
func (s *Server) exchange(w http.ResponseWriter, in url.Values, app *smart.App, bound string, now time.Time) {
	g, stolen, p := s.redeem(in, app, bound, now)
	if stolen {
		// Either this is a thief or the first use was: nothing of it lives on.
		s.Log.Warn("a code or refresh token was used twice", "program", app.ID, "sid", g.Session)
		s.Sessions.Unbind(g.Session, g.Bound)
	}
	if p != nil {
		oauthError(w, http.StatusBadRequest, p.Code, p.Detail)
		return
	}
	live, ok := s.Sessions.Live(g.Session)
	if !ok || !s.Sessions.Bind(g.Session, bound) {
		oauthError(w, http.StatusBadRequest, smart.InvalidGrant, "the session is over: the card is out")
		return
	}
	s.issue(w, live, g, now)
}

// redeem uses a code or refresh token up. One used twice takes all of its session's
// along.
func (s *Server) redeem(in url.Values, app *smart.App, bound string, now time.Time) (g smart.Grant, stolen bool, p *smart.Problem) {
	use := smart.Use{Client: app.ID, Redirect: in.Get("redirect_uri"), Verifier: in.Get("code_verifier"), Bound: bound}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch in.Get("grant_type") {
	case "authorization_code":
		use.Secret = in.Get("code")
		g, stolen, p = s.ledger.Redeem(use, now)
	case "refresh_token":
		use.Secret = in.Get("refresh_token")
		g, stolen, p = s.ledger.Renew(use, now)
	default:
		p = &smart.Problem{Code: smart.UnsupportedGrant, Detail: "want authorization_code or refresh_token"}
	}
	if stolen {
		s.ledger.Forget(g.Session)
	}
	return g, stolen, p
}

// issue answers with tokens.
func (s *Server) issue(w http.ResponseWriter, live session.Session, g smart.Grant, now time.Time) {
	a := token.App{Client: g.App.ID, Scope: g.Granted}
	kind := "DPoP"
	if key, ok := strings.CutPrefix(g.Bound, wire.BoundKey); ok {
		a.Key = key
	} else {
		a.Addr, kind = strings.TrimPrefix(g.Bound, wire.BoundAddr), "Bearer"
	}
	if smart.Has(g.Granted, "fhirUser") {
		a.User = s.FHIR + "/" + live.Subject
	}
	out := map[string]any{"token_type": kind, "expires_in": int(token.Lifetime / time.Second), "scope": g.Granted}
	text, err := s.Tokens.IssueTo(live, a, now)
	if err == nil && smart.Has(g.Granted, "openid") {
		out["id_token"], err = s.Tokens.Identify(live, a, s.Base, g.Nonce, now)
	}
	if err != nil {
		s.Log.Error("issue token", "err", err)
		oauthError(w, http.StatusServiceUnavailable, "server_error", "the gateway can't sign tokens; tell the technician")
		return
	}
	out["access_token"] = text
	if smart.Has(g.Granted, "online_access") {
		secret := rand.Text() + rand.Text()
		s.mu.Lock()
		room := s.ledger.AddRefresh(secret, g, now)
		s.mu.Unlock()
		if room {
			out["refresh_token"] = secret
		}
	}
	respond(w, http.StatusOK, out)
}

func oauthError(w http.ResponseWriter, code int, kind, detail string) {
	respond(w, code, map[string]string{"error": kind, "error_description": detail})
}
