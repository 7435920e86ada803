package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/ecg"
	"clinicgate/syncd/ecg/sheet"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// ECGPath is where a doctor looks at ECGs that are here: the list, and below it each
// drawn by its number.
const ECGPath = "/ecg"

// ECG is one that was handed in. Nothing in ID tells whose it is.
type ECG struct {
	ID       string
	Kind     string // of format
	Origin   string
	State    string // of the queue: "waiting", "delivering", "held", "delivered"
	Accepted time.Time
	Name     string   // of the patient, as the file says
	Birth    string   // YYYYMMDD
	Number   string   // of the patient, as the file says
	Patient  fhir.Ref // at the EHR; zero: not known whose it is
}

// ErrNoECG is asked for and not here.
var ErrNoECG = errors.New("no such ECG is here")

// ECGs are those that wait, and those sent lately. Find says what is known of one,
// Body reads it.
type ECGs interface {
	List(ctx context.Context) ([]ECG, error)
	Find(ctx context.Context, id string) (ECG, error)
	Body(id string) ([]byte, error)
}

// Looking is the endpoint where a doctor with a live card looks at ECGs, by the
// rules of records: care, consent and trace.
type Looking struct {
	*Handler
	ECGs ECGs
}

// ServeHTTP answers one request.
func (l Looking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer can
	w.Header().Set("Cache-Control", "no-store")
	if l.Door != nil && l.Door.admit(w, r) {
		return
	}
	a, kind := l.look(r)
	if kind == "" {
		write(w, a)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox") // a drawing runs nothing
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a browser that left needs none
}

// look judges who asks, and answers; kind is empty with an OperationOutcome.
func (l Looking) look(r *http.Request) (a answer, kind string) {
	id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, ECGPath), "/")
	ask, err := l.asking(r)
	if err != nil {
		return l.unproven(err), ""
	}
	ask.Type, ask.Op = "Observation", grant.Read
	e := trail.Entry{When: time.Now().UTC(), Device: ask.device, Action: "read", What: "upload/" + printable(id)}
	if id == "" {
		ask.Op, e.Action, e.What = grant.Search, "search", "upload?kind=ecg"
	}
	g, err := grant.Decide(time.Now(), l.Roster(), l.Issuer, ask.Request)
	e.Session, e.Who, e.Role, e.Room, e.Purpose = g.Session, g.Subject, g.Role, g.Room, g.Purpose()
	if err == nil && g.Role != wire.RoleDoctor {
		err = &grant.Refusal{Reason: grant.Role}
	}
	if err != nil {
		return l.denied(e, err), ""
	}
	if err := l.once(ask); err != nil {
		return l.unproven(err), ""
	}
	switch {
	case r.Method != http.MethodGet:
		a := failure(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "ECGs can only be looked at here")
		a.header["Allow"] = "GET"
		return a, ""
	case id == "":
		return l.list(r.Context(), g, e)
	}
	return l.drawing(r.Context(), id, g, e)
}

// printable is an id that may be written into the trail; others are nobody's.
func printable(id string) string {
	if len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		return "?"
	}
	return id
}

// over asks the grant about the patient of an ECG, if it matters whose it is.
func (l Looking) over(ctx context.Context, one ECG, g grant.Grant, e *trail.Entry) error {
	if one.Patient.ID != "" {
		e.Patient = one.Patient.String()
	}
	if !g.NeedsOwner() {
		return nil
	}
	o := grant.Owner{Type: "Observation", Unsure: true}
	if one.Patient.ID != "" {
		o = l.owner(ctx, g, fhir.Ref{Type: "Observation"}, one.Patient)
	}
	if one.Number != "" {
		o.Names = append(o.Names, g.Name(one.Number))
	}
	purpose, err := g.Over(o)
	if err == nil {
		e.Purpose = purpose
	}
	return err
}

// listed is one ECG of the list: {"v":1,"items":[...]}.
type listed struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Origin   string    `json:"origin"`
	State    string    `json:"state"`
	Accepted time.Time `json:"accepted"`
	Name     string    `json:"name,omitempty"`
	Birth    string    `json:"birth,omitempty"`
	Number   string    `json:"number,omitempty"`
}

// list names the ECGs that the grant covers, and no other.
func (l Looking) list(ctx context.Context, g grant.Grant, e trail.Entry) (answer, string) {
	all, err := l.ECGs.List(ctx)
	if err != nil {
		l.Log.Error("list ECGs", "err", err)
		return l.traced(e, failure(http.StatusInternalServerError, fhir.CodeException, "the ECGs could not be read; call support")), ""
	}
	out := struct {
		V     int      `json:"v"`
		Items []listed `json:"items"`
	}{1, []listed{}}
	for _, one := range all {
		its := e
		if l.over(ctx, one, g, &its) == nil {
			out.Items = append(out.Items, listed{one.ID, one.Kind, one.Origin, one.State, one.Accepted, one.Name, one.Birth, one.Number})
		}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return failure(http.StatusInternalServerError, fhir.CodeException, "the list could not be written"), ""
	}
	return l.given(e, body, "application/json")
}

// drawing draws one ECG.
func (l Looking) drawing(ctx context.Context, id string, g grant.Grant, e trail.Entry) (answer, string) {
	one, err := l.ECGs.Find(ctx, id)
	if errors.Is(err, ErrNoECG) {
		return l.traced(e, failure(http.StatusNotFound, fhir.CodeNotFound, ErrNoECG.Error())), ""
	}
	if err == nil {
		if no := l.over(ctx, one, g, &e); no != nil {
			return l.denied(e, no), ""
		}
	}
	var body []byte
	if err == nil {
		body, err = l.ECGs.Body(id)
	}
	if err != nil {
		l.Log.Error("read an ECG", "item", printable(id), "err", err)
		return l.traced(e, failure(http.StatusInternalServerError, fhir.CodeException, "the ECG could not be read; call support")), ""
	}
	r, err := ecg.Read(one.Kind, body)
	if err != nil {
		return l.traced(e, failure(http.StatusUnprocessableEntity, fhir.CodeNotSupported, err.Error()+"; it is delivered as it is")), ""
	}
	return l.given(e, sheet.Draw(r, head(one, r)), "image/svg+xml")
}

// given is an answer that leaves when its trace is durable.
func (l Looking) given(e trail.Entry, body []byte, kind string) (answer, string) {
	a := l.traced(e, answer{status: http.StatusOK, body: body, header: map[string]string{}, trace: "shown"})
	if a.status != http.StatusOK {
		return a, ""
	}
	return a, kind
}

// head is what is written over the drawing: whose it is as the file says, which is
// for the doctor to hold against the patient.
func head(one ECG, r *ecg.Recording) sheet.Head {
	who := strings.Join(strings.Fields(strings.ReplaceAll(one.Name, "^", " ")), " ")
	for _, more := range []string{one.Birth, one.Number} {
		if more != "" {
			who += "   " + more
		}
	}
	return sheet.Head{
		Who: cmp.Or(strings.TrimSpace(who), "no patient named"), When: "received " + one.Accepted.UTC().Format("2006-01-02 15:04:05") + " UTC from " + one.Origin,
		Notes: []string{fmt.Sprintf("%.0f Hz", r.Rate), "unfiltered", one.State},
	}
}
