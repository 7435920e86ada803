// Package apps is where programs in a browser log in (SMART App Launch 2): a page
// for the PIN, the token endpoint, and what describes them. Its one guarantee: no
// program gets a token but a registered one, for a session that lives, after its
// holder showed the PIN of the card in that room, at that very browser or at the
// room's own reader.
package apps

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/smart"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/dpop"
	"clinicgate/firmware/wire"
)

// A Desk opens sessions. Login returns a *session.Refusal when it won't, and wipes
// the PIN in any case.
type Desk interface {
	Login(context.Context, session.Login) (session.Session, error)
}

// Sessions are those that live.
type Sessions interface {
	Live(id string) (session.Session, bool)
	Bind(id, key string) (lives bool)
	Unbind(id, key string)
}

// Tokens are made here.
type Tokens interface {
	IssueTo(session.Session, token.App, time.Time) (string, error)
	Identify(s session.Session, a token.App, issuer, nonce string, now time.Time) (string, error)
	JWKS(now time.Time) wire.JWKS
}

// A Place is a room whose card a browser at some address may log in with.
type Place struct {
	Room     string
	AtReader bool // the PIN is typed at the room's reader, not into the page
}

// Setup is what a Server works with.
type Setup struct {
	Desk     Desk
	Sessions Sessions
	Tokens   Tokens
	Places   func(netip.Addr) []Place
	Apps     []smart.App
	Base     string // of these endpoints: "https://host:port"
	FHIR     string // of the records that tokens are for
	Log      *slog.Logger
}

// A Server answers the endpoints.
type Server struct {
	Setup
	guard *dpop.Guard
	busy  chan struct{}

	mu     sync.Mutex
	ledger *smart.Ledger
	flows  map[string]*flow
	begun  map[string]string // hash of a browser's cookie → the session it began
}

// Bounds.
const (
	atOnce   = 16 // logins under way
	maxFlows = 500
	flowLife = 5 * time.Minute
	maxForm  = 8 << 10
	bodyTime = 5 * time.Second
)

// A flow is an authorization request that waits for its person.
type flow struct {
	smart.Request
	browser string // hash of the cookie
	until   time.Time
	number  string // shown on the page and where the PIN is typed
}

// New returns a server that nobody has asked anything.
func New(s Setup) *Server {
	var key [32]byte
	rand.Read(key[:])
	return &Server{
		Setup: s, guard: dpop.NewGuard(key), busy: make(chan struct{}, atOnce),
		ledger: smart.NewLedger(), flows: map[string]*flow{}, begun: map[string]string{},
	}
}

// Handler returns the endpoints.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("POST /authorize", s.decide)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("OPTIONS /token", s.preflight)
	mux.HandleFunc("GET /jwks", s.jwks)
	mux.HandleFunc("GET /style.css", asset("text/css", styleText))
	mux.HandleFunc("GET /dpop.js", asset("text/javascript", scriptText))
	for _, path := range []string{"/.well-known/smart-configuration", "/.well-known/openid-configuration"} {
		mux.HandleFunc("GET "+path, s.describe)
	}
	return mux
}

// describe is SMART's and OpenID Connect's discovery.
func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	s.cors(w, r)
	respond(w, http.StatusOK, wire.SMARTConfiguration(s.Base))
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	s.cors(w, r)
	respond(w, http.StatusOK, s.Tokens.JWKS(time.Now()))
}

// cors lets registered programs, and no other page, read an answer.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if slices.ContainsFunc(s.Apps, func(a smart.App) bool { return slices.Contains(a.Origins, origin) }) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "DPoP-Nonce")
	}
}

func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	s.cors(w, r)
	w.Header().Set("Access-Control-Allow-Methods", "POST")
	w.Header().Set("Access-Control-Allow-Headers", "Content-Type, Accept, DPoP")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// caller is the address a request comes from.
func caller(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:16])
}

func respond(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a program that hung up needs no answer
}
