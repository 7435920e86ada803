// Package serve is the FHIR endpoint on the clinic's LAN. Its one guarantee: no
// record leaves it without a live card session behind the request and a durable
// trace of the access, and every answer says how old it is.
package serve

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// Base is the path of the endpoint.
const Base = "/fhir/R4"

// Records answers queries; *cache.Reader is one.
type Records interface {
	Read(ctx context.Context, q fhir.Query) (cache.Result, error)
}

// Trail makes accesses durable and goes through them, oldest first; *trail.Trail
// is one.
type Trail interface {
	Append(e trail.Entry) error
	Walk(fn func(trail.Entry)) error
}

// Handler is the endpoint. All fields but Writing and Door are required.
type Handler struct {
	Records    Records
	Trail      Trail
	Roster     func() *grant.Roster // what cardauth last said; nil lets nobody in
	Issuer     string               // of the tokens
	Self       string               // our base URL, for links
	EHR        string               // the EHR's, for references that are absolute
	Capability []byte               // the CapabilityStatement
	Log        *slog.Logger
	Traced     func(error) // told how each entry in the trail ended
	Writing    *Writing    // nil: records are only read
	Door       *Door       // nil: for workstations, by their certificates

	walking   sync.Mutex // held by whoever goes through the trail
	largeOnce sync.Once
	large     chan struct{} // places of large bodies in memory
}

// An answer is a response before it is written.
type answer struct {
	status int
	header map[string]string
	body   []byte
	whole  []byte // what the EHR or the cache gave, when body is less
	trace  string // outcome, for the trail
}

// writeWithin bounds how long a workstation may take an answer in.
const writeWithin = 30 * time.Second

// ServeHTTP answers one request. Only answers leave here, whatever goes wrong.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer can
	w.Header().Set("Cache-Control", "no-store")                                     // no copies on workstations
	if h.Door != nil && h.Door.admit(w, r) {
		return
	}
	write(w, h.answer(r))
}

func (h *Handler) answer(r *http.Request) answer {
	rest, ours := strings.CutPrefix(r.URL.Path, Base)
	if !ours || rest != "" && rest[0] != '/' {
		return failure(http.StatusNotFound, fhir.CodeNotFound, "nothing is here; the records are below "+Base)
	}
	rest = strings.TrimPrefix(rest, "/")
	if rest == "metadata" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		if err := acceptable(r); err != nil {
			return refused(err)
		}
		return answer{status: http.StatusOK, body: h.Capability}
	}
	ask, err := h.asking(r)
	if err != nil {
		return h.unproven(err)
	}
	if rest == "" && r.Method == http.MethodPost {
		return h.batch(r, ask)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasSuffix(strings.TrimSuffix(rest, "/"), "/_search") {
		return h.single(r, ask, rest)
	}
	in, err := inquire(r, rest)
	if err != nil {
		in.accept = err
	}
	return h.inquiry(r.Context(), ask, in, func() error { return h.once(ask) })
}

// inquiry answers one question. once is called when the question is allowed.
func (h *Handler) inquiry(ctx context.Context, ask asking, in inquiry, once func() error) answer {
	q, op, parseErr := parse(in)
	ask.Op = op
	ask.Type, _, _ = strings.Cut(in.rest, "/")
	g, err := grant.Decide(time.Now(), h.Roster(), h.Issuer, ask.Request)
	e := trail.Entry{
		When: time.Now().UTC(), Session: g.Session, Who: g.Subject, Role: g.Role, Room: g.Room, Device: ask.device,
		Action: action(q, op), What: what(q, in.rest), Purpose: g.Purpose(),
	}
	if err != nil {
		return h.denied(e, err)
	}
	if err := once(); err != nil {
		return h.unproven(err)
	}
	if in.rest == accesses {
		return h.accessLog(ctx, in, g, e)
	}
	if in.accept != nil {
		return refused(in.accept)
	}
	if parseErr != nil {
		return refused(parseErr)
	}
	return h.owned(ctx, in, q, g, e)
}

// action is what the trail calls a question.
func action(q fhir.Query, op grant.Op) string {
	switch q.(type) {
	case fhir.History, fhir.Everything:
		return "search"
	}
	if op == grant.Search {
		return "search"
	}
	return "read"
}

// denied answers a refusal of grant's. Who is known leaves a trace; a stranger's
// noise must not fill it.
func (h *Handler) denied(e trail.Entry, err error) answer {
	var no *grant.Refusal
	if !errors.As(err, &no) {
		return failure(http.StatusInternalServerError, fhir.CodeException, "the request could not be checked")
	}
	h.Log.Info("access refused", "reason", no.Reason, "room", e.Room, "role", e.Role)
	a := failure(http.StatusForbidden, fhir.CodeForbidden, no.Error())
	if !no.Known() {
		a = failure(http.StatusUnauthorized, fhir.CodeLogin, no.Error())
		a.header["WWW-Authenticate"] = challenge(no.Reason)
	}
	a.trace = "refused: " + string(no.Reason)
	if e.Who == "" {
		return a
	}
	return h.traced(e, a)
}

// challenge is RFC 6750 §3: a request without a token gets no error code.
func challenge(r grant.Reason) string {
	if r == grant.NoToken {
		return `Bearer realm="clinicgate"`
	}
	return `Bearer realm="clinicgate", error="invalid_token", error_description="` + string(r) + `"`
}

// traced makes the trace durable and only then lets the answer go.
func (h *Handler) traced(e trail.Entry, a answer) answer {
	e.Outcome = a.trace
	err := h.Trail.Append(e)
	h.Traced(err)
	if err == nil {
		return a
	}
	h.Log.Error("an access could not be traced and was not given", "err", err)
	return failure(http.StatusServiceUnavailable, fhir.CodeException,
		"the access could not be recorded, so the record can't be shown: the gateway's storage needs attention, call support")
}

// read answers an allowed question.
func (h *Handler) read(ctx context.Context, in inquiry, q fhir.Query) answer {
	res, err := h.Records.Read(ctx, q)
	if err != nil {
		return h.unanswered(err)
	}
	a := answer{status: http.StatusOK, body: res.Body, whole: res.Body, trace: string(res.How), header: fresh(res)}
	if v, ok := view(q, res, h.Self); ok {
		if a.body, err = fhir.Show(res.Body, v); err != nil {
			return h.unanswered(err)
		}
		if _, search := q.(fhir.Search); search && in.lenient() {
			a.header["Preference-Applied"] = "handling=lenient"
		}
		return a
	}
	if in.holds(res) {
		a.status, a.body = http.StatusNotModified, nil
	}
	return a
}

// holds says whether what the client has is still the answer (RFC 9110 §13.2.2).
func (in inquiry) holds(res cache.Result) bool {
	if in.same != "" {
		return res.ETag != "" && matches(in.same, res.ETag)
	}
	since, err := http.ParseTime(in.since)
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(res.LastModified)
	return err == nil && !modified.After(since)
}

// fresh is what an answer's headers say of its age.
func fresh(res cache.Result) map[string]string {
	header := map[string]string{"Cache-Status": res.Status()}
	if res.ETag != "" {
		header["ETag"] = res.ETag
	}
	if res.LastModified != "" {
		header["Last-Modified"] = res.LastModified
	}
	if res.How != cache.Fetched && res.How != cache.Replaced { // RFC 9111 §5.1
		age := max(0, time.Since(res.At))
		header["Age"] = strconv.FormatInt(int64(age/time.Second), 10)
	}
	if res.Pending > 0 {
		header[PendingHeader] = strconv.Itoa(res.Pending)
	}
	if res.How == cache.Stale {
		header[StaleHeader] = "as-of=" + stamp(res.At) + "; reason=" + strconv.QuoteToASCII(res.Why)
	}
	return header
}

// StaleHeader marks an answer that is old because the EHR could not be asked. It
// says since when, and why.
const StaleHeader = "Clinicgate-Stale"

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// fingerprint is x5t#S256 of the client's certificate (RFC 8705 §3.1).
func fingerprint(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// matches compares weakly (RFC 9110 §13.1.2).
func matches(header, etag string) bool {
	for _, one := range strings.Split(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}
