// Package grant decides who may see records. Its one guarantee: Decide allows
// nothing without a token that a live card session stands behind, used from the
// device it was given to. It is a function of values: the roster is what
// cardauth last published, the time is an argument, and nothing is looked up.
package grant

import (
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

// Audience is what a token must be meant for.
const Audience = "urn:clinicgate:syncd"

// Issuer is who must have issued it, for the site of that code.
func Issuer(code string) string { return "urn:clinicgate:" + code }

// Bounds of a token.
const (
	maxToken = 4096            // bytes
	leeway   = 2 * time.Second // cardauth's clock is ours; only rounding differs
)

// Op is what a request does, as SMART scopes name it (v2: c r u d s).
type Op byte

// The operations syncd knows.
const (
	Read   Op = 'r'
	Search Op = 's'
	Create Op = 'c'
	Update Op = 'u'
	Delete Op = 'd'
)

// Writes says whether an operation changes a record.
func (o Op) Writes() bool { return o == Create || o == Update || o == Delete }

// Request is what is asked, by whom.
type Request struct {
	Token string // of the Authorization header, without "Bearer"
	Peer  string // x5t#S256 of the TLS client certificate: base64url SHA-256 of the DER
	Thumb string // thumbprint of the key a DPoP proof for this request was made with
	Addr  string // the address it comes from, where that counts
	Op    Op
	Type  string // FHIR resource type
}

// Grant is who was allowed, for the trace.
type Grant struct {
	Session string // sid
	Subject string // FHIR reference of the person
	Role    string
	Room    string

	patient string // pseudonym, of a patient
	op      Op
	roster  *Roster
}

// claims of a token (RFC 9068, RFC 7800).
type claims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Role    string `json:"role"`
	Scope   string `json:"scope"`
	Room    string `json:"room"`
	Confirm struct {
		Cert string `json:"x5t#S256"` // RFC 8705
		Key  string `json:"jkt"`      // RFC 9449
		Addr string `json:"addr"`     // ours: of the workstation, for programs that know neither
	} `json:"cnf"`
}

// Decide says whether r is allowed now. The error is a *Refusal; the Grant that
// comes with it is who the token was made for, for the trace, and empty when the
// token is none of cardauth's.
func Decide(now time.Time, roster *Roster, issuer string, r Request) (Grant, error) {
	g, scope, err := who(now, roster, issuer, r)
	g.op = r.Op
	switch {
	case err != nil:
		return g, err
	case !may(g.Role, r.Op, r.Type):
		return g, refuse(Role)
	case !allows(scope, g.Role, r.Op, r.Type):
		return g, refuse(Scope)
	}
	return g, nil
}

// Who says whose live session a token is, used from the device of that
// certificate. Whoever has one may hand in uploads, which shows nobody anything.
func Who(now time.Time, roster *Roster, issuer, token, peer string) (Grant, error) {
	g, _, err := who(now, roster, issuer, Request{Token: token, Peer: peer})
	return g, err
}

func who(now time.Time, roster *Roster, issuer string, r Request) (g Grant, scope string, err error) {
	if r.Token == "" {
		return Grant{}, "", refuse(NoToken)
	}
	if roster == nil {
		return Grant{}, "", refuse(NoRoster)
	}
	c, err := verify(now, roster, issuer, r.Token)
	if err != nil {
		return Grant{}, "", err
	}
	g = Grant{Session: c.Session, Subject: c.Subject, Role: c.Role, Room: c.Room}
	if !c.heldBy(r) {
		return g, "", refuse(OtherDevice)
	}
	s, live := roster.sessions[c.Session]
	if !live || c.Session == "" {
		return g, "", refuse(NoSession)
	}
	if !c.boundTo(s) || s.Subject != c.Subject || s.Role != c.Role || s.Room != c.Room {
		return g, "", refuse(OtherSession)
	}
	g.patient, g.roster = s.Patient, roster
	return g, c.Scope, nil
}

// heldBy says whether a request shows what the token is bound to: one thing, and
// that one.
func (c *claims) heldBy(r Request) bool {
	b := c.Confirm
	switch {
	case b.Cert != "" && b.Key == "" && b.Addr == "":
		return same(b.Cert, r.Peer)
	case b.Key != "" && b.Cert == "" && b.Addr == "":
		return same(b.Key, r.Thumb)
	case b.Addr != "" && b.Cert == "" && b.Key == "":
		return same(b.Addr, r.Addr)
	}
	return false
}

// boundTo says whether the session, too, knows of what its token is bound to.
func (c *claims) boundTo(s wire.Session) bool {
	switch b := c.Confirm; {
	case b.Cert != "":
		return same(s.CertHash, b.Cert)
	case b.Key != "":
		return slices.Contains(s.Keys, wire.BoundKey+b.Key)
	default:
		return slices.Contains(s.Keys, wire.BoundAddr+b.Addr)
	}
}

// verify checks signature, type, issuer, audience and times (RFC 9068 §4).
func verify(now time.Time, roster *Roster, issuer, token string) (*claims, error) {
	if len(token) > maxToken {
		return nil, refuse(Malformed)
	}
	rules := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithLeeway(leeway), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithIssuer(issuer), jwt.WithAudience(Audience), jwt.WithStrictDecoding(),
	}
	if c := roster.proven.get(token); c != nil && jwt.NewValidator(rules...).Validate(c) == nil {
		return c, nil // what does not hold any more is told why below
	}
	c := new(claims)
	t, err := jwt.NewParser(rules...).ParseWithClaims(token, c, roster.key)
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, refuse(Malformed)
	case errors.Is(err, errUnknownKey):
		return nil, refuse(UnknownKey)
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, refuse(Expired)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience):
		return nil, refuse(OtherService)
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return nil, refuse(Claims)
	default:
		return nil, refuse(Signature)
	}
	// RFC 9068 §4: an identity token or another JWT of cardauth's is no access
	// token.
	typ, _ := t.Header["typ"].(string)
	if !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "application/at+jwt") {
		return nil, refuse(Malformed)
	}
	roster.proven.put(token, c)
	return c, nil
}

// allows reads SMART v2 scopes: "user/*.rs", "user/Patient.r"; a patient's begin
// with "patient/" and are worth nothing to others.
func allows(scope, role string, op Op, typ string) bool {
	prefix := "user/"
	if role == wire.RolePatient {
		prefix = "patient/"
	}
	return slices.ContainsFunc(strings.Fields(scope), func(one string) bool {
		rest, ok := strings.CutPrefix(one, prefix)
		what, may, dot := strings.Cut(rest, ".")
		return ok && dot && (what == "*" || what == typ) && strings.IndexByte(may, byte(op)) >= 0
	})
}

func same(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
