package apps

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/smart"
	"clinicgate/cardauth/token"
)

// cookie tells one browser from another. It opens nothing: with it, and while the
// session it began lives, a program comes in without another PIN, but not without
// a click.
const cookie = "__Host-clinicgate"

// authorize: a program sends its browser here (RFC 6749 §4.1.1).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	req, problem := smart.Authorize(s.Apps, s.FHIR, r.URL.Query())
	if problem != nil {
		s.refuse(w, r, problem, r.URL.Query().Get("state"))
		return
	}
	places := s.Places(caller(r))
	if len(places) == 0 {
		s.Log.Info("a program's login from where no card is used", "address", caller(r), "program", req.App.ID)
		s.failed(w, http.StatusForbidden, "This computer is not set up for logging in with a card. Tell the technician: its address is "+caller(r).String()+".")
		return
	}
	id, f, ok := s.newFlow(req, hashed(browser(w, r)), time.Now())
	if !ok {
		s.failed(w, http.StatusServiceUnavailable, "Too many logins are under way. Try again in a few minutes.")
		return
	}
	s.show(w, http.StatusOK, page{Flow: id, App: req.App.Name, Number: f.number, Places: places, Known: s.known(f) != "", to: req.Redirect})
}

// refuse sends a problem back to the program, if it may be trusted with it, else
// shows it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *smart.Problem, state string) {
	if p.Back == "" {
		s.failed(w, http.StatusBadRequest, p.Detail)
		return
	}
	http.Redirect(w, r, smart.Answer(p.Back, state, s.Base, map[string]string{"error": p.Code, "error_description": p.Detail}), http.StatusSeeOther)
}

// browser is the browser's cookie, set if it has none.
func browser(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(cookie); err == nil && len(c.Value) >= 26 && len(c.Value) < 100 {
		return c.Value
	}
	secret := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return secret
}

// newFlow remembers a request until its person has decided.
func (s *Server) newFlow(req smart.Request, browser string, now time.Time) (string, *flow, bool) {
	n, err := rand.Int(rand.Reader, big.NewInt(90))
	if err != nil {
		return "", nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flows) >= maxFlows {
		for id, f := range s.flows {
			if now.After(f.until) {
				delete(s.flows, id)
			}
		}
	}
	if len(s.flows) >= maxFlows {
		return "", nil, false
	}
	id := rand.Text()
	f := &flow{req, browser, now.Add(flowLife), fmt.Sprint(n.Int64() + 10)}
	s.flows[id] = f
	return id, f, true
}

// flowOf is the flow of a form, if it is this browser's.
func (s *Server) flowOf(id string, r *http.Request, now time.Time) *flow {
	c, err := r.Cookie(cookie)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[id]
	if f == nil || now.After(f.until) || f.browser != hashed(c.Value) {
		return nil
	}
	return f
}

// device is how sessions name the browser they were begun from.
func (f *flow) device() string { return "browser:" + f.browser }

// known is the live session that this browser began, if there is one.
func (s *Server) known(f *flow) string {
	s.mu.Lock()
	sid := s.begun[f.browser]
	s.mu.Unlock()
	if live, ok := s.Sessions.Live(sid); !ok || live.CertHash != f.device() {
		return ""
	}
	return sid
}

// mayUse says whether a session's room is one of the address's.
func (s *Server) mayUse(sid string, from netip.Addr) bool {
	live, ok := s.Sessions.Live(sid)
	return ok && placeOf(s.Places(from), live.Room) != nil
}

// decide: the person did (the form of the page).
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	// A page of somebody else's can't send this form: browsers say where a form
	// comes from, and the cookie doesn't come along.
	if r.Header.Get("Origin") != s.Base {
		s.failed(w, http.StatusForbidden, "The form did not come from this page.")
		return
	}
	in, err := readForm(w, r)
	defer clear(in.pin)
	if err != nil {
		s.failed(w, http.StatusBadRequest, "The form could not be read.")
		return
	}
	f := s.flowOf(in.flow, r, time.Now())
	if f == nil {
		s.failed(w, http.StatusBadRequest, "This login has run out, or was begun in another browser. Go back to the program and start again.")
		return
	}
	switch in.act {
	case "cancel":
		s.drop(in.flow)
		s.refuse(w, r, &smart.Problem{Code: smart.AccessDenied, Detail: "not allowed by the person", Back: f.Redirect}, f.State)
		return
	case "continue":
		if sid := s.known(f); sid != "" && s.mayUse(sid, caller(r)) {
			s.admit(w, r, in.flow, f, sid)
			return
		}
	}
	s.login(w, r, in, f)
}

// login shows the PIN to the card.
func (s *Server) login(w http.ResponseWriter, r *http.Request, in form, f *flow) {
	places := s.Places(caller(r))
	p := page{Flow: in.flow, App: f.App.Name, Number: f.number, Places: places, Room: in.room, to: f.Redirect}
	at := placeOf(places, in.room)
	if at == nil {
		s.failed(w, http.StatusForbidden, "This computer is not set up for logging in with the card of that room.")
		return
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		p.Trouble = "Too many logins at once; try again in a moment."
		s.show(w, http.StatusServiceUnavailable, p)
		return
	}
	l := session.Login{
		Room: at.Room, LastTry: in.last, CertHash: f.device(), Device: "browser at " + caller(r).String(), From: caller(r),
		Question: fmt.Sprintf("PIN for %s; your screen shows the number %s", f.App.Name, f.number),
	}
	if !at.AtReader {
		l.PIN = in.pin
	}
	got, err := s.Desk.Login(r.Context(), l)
	var no *session.Refusal
	switch {
	case errors.As(err, &no):
		p.Trouble, p.Last = no.Detail, no.Kind == session.LastTry
		s.show(w, http.StatusOK, p)
	case err != nil:
		p.Trouble = "The login was given up."
		s.show(w, http.StatusServiceUnavailable, p)
	default:
		s.remember(f.browser, got.ID)
		s.admit(w, r, in.flow, f, got.ID)
	}
}

// remember notes which session a browser began. Those that are over are dropped.
func (s *Server) remember(browser, sid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b, id := range s.begun {
		if _, lives := s.Sessions.Live(id); !lives {
			delete(s.begun, b)
			s.ledger.Forget(id)
		}
	}
	s.begun[browser] = sid
}

// admit sends the browser back to the program with a code.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, id string, f *flow, sid string) {
	live, ok := s.Sessions.Live(sid)
	if !ok {
		s.failed(w, http.StatusForbidden, "The session is over. Put the card in and start again.")
		return
	}
	g := smart.Grant{
		Request: f.Request, Session: sid, Addr: caller(r).String(),
		Granted: smart.Narrow(f.Scope, f.App.Scopes, token.Scope(live.Role)),
	}
	code := rand.Text()
	s.mu.Lock()
	delete(s.flows, id)
	room := s.ledger.AddCode(code, g, time.Now())
	s.mu.Unlock()
	if !room {
		s.failed(w, http.StatusServiceUnavailable, "Too many logins are under way. Try again in a few minutes.")
		return
	}
	s.Log.Info("program let in", "program", f.App.ID, "sid", sid, "scope", g.Granted)
	http.Redirect(w, r, smart.Answer(f.Redirect, f.State, s.Base, map[string]string{"code": code}), http.StatusSeeOther)
}

func (s *Server) drop(flow string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, flow)
}

func placeOf(all []Place, room string) *Place {
	for i := range all {
		if all[i].Room == room {
			return &all[i]
		}
	}
	return nil
}
