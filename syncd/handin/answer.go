package handin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/submission"
)

// ItemHeader names the queue's item, for whoever asks at the gateway what became
// of it.
const ItemHeader = "Clinicgate-Item"

// taken is a submission that is safe here and not at the EHR yet: 202, with the ids
// that hold here and there, now and later.
type taken struct {
	sub  *submission.Submission
	item string
}

func (t taken) write(w http.ResponseWriter) {
	w.Header().Set(ItemHeader, t.item)
	if t.sub.Single {
		w.Header().Set("Location", t.sub.Refs[0].String())
		outcome(w, http.StatusAccepted, fhir.CodeInformation, "", "kept here durably and on its way to the EHR")
		return
	}
	type response struct {
		Status   string `json:"status"`
		Location string `json:"location"`
	}
	type entry struct {
		Response response `json:"response"`
	}
	b := struct {
		ResourceType string  `json:"resourceType"`
		Type         string  `json:"type"`
		Entry        []entry `json:"entry"`
	}{"Bundle", "transaction-response", nil}
	for _, ref := range t.sub.Refs {
		b.Entry = append(b.Entry, entry{response{"202 Accepted", ref.String()}})
	}
	w.Header().Set("Content-Type", fhir.MediaType)
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(b) // a sender that went away
}

// outcome answers with an OperationOutcome; where is a FHIRPath or empty.
func outcome(w http.ResponseWriter, status int, code, where, text string) {
	severity := "error"
	if status < 300 {
		severity = "information"
	}
	type details struct {
		Text string `json:"text"`
	}
	type issue struct {
		Severity   string   `json:"severity"`
		Code       string   `json:"code"`
		Details    details  `json:"details"`
		Expression []string `json:"expression,omitempty"`
	}
	i := issue{Severity: severity, Code: code, Details: details{text}}
	if where != "" {
		i.Expression = []string{where}
	}
	w.Header().Set("Content-Type", fhir.MediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // a sender that went away
		ResourceType string  `json:"resourceType"`
		Issue        []issue `json:"issue"`
	}{"OperationOutcome", []issue{i}})
}

// denied answers who may not hand in at all.
func (h *Handler) denied(w http.ResponseWriter, s sender, err error) {
	h.Log.Info("submission not let in", "device", s.name, "err", err)
	status, code := http.StatusUnauthorized, fhir.CodeLogin
	var no *grant.Refusal
	if errors.As(err, &no) && no.Known() {
		status, code = http.StatusForbidden, fhir.CodeForbidden
	} else {
		w.Header().Set("WWW-Authenticate", `Bearer realm="clinicgate"`)
	}
	outcome(w, status, code, "", err.Error())
}

// reason is a refusal's in a word, for the trace.
func reason(err error) string {
	var no *grant.Refusal
	var m *mismatch
	switch {
	case errors.As(err, &no):
		return string(no.Reason)
	case errors.As(err, &m):
		return "patient: " + string(m.reason)
	case errors.Is(err, errOver):
		return string(grant.NoSession)
	}
	return "failed"
}

// refused answers a submission that was not kept.
func (h *Handler) refused(w http.ResponseWriter, s sender, err error) {
	h.Log.Warn("submission not accepted", "device", s.name, "err", err)
	var (
		problem *submission.Problem
		no      *grant.Refusal
		other   *mismatch
		refusal *ingest.Refusal
	)
	switch {
	case errors.As(err, &problem):
		outcome(w, http.StatusUnprocessableEntity, problem.Code, problem.Where, problem.What)
	case errors.Is(err, errOver):
		outcome(w, http.StatusUnauthorized, fhir.CodeLogin, "", errOver.Error())
	case errors.As(err, &no):
		outcome(w, http.StatusForbidden, fhir.CodeForbidden, "", no.Error())
	case errors.As(err, &other):
		outcome(w, http.StatusUnprocessableEntity, "business-rule", "", other.Error())
	case errors.Is(err, errMedia):
		outcome(w, http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "", errMedia.Error())
	case errors.Is(err, errLong):
		outcome(w, http.StatusRequestEntityTooLarge, "too-long", "", errLong.Error())
	case errors.As(err, &refusal) && refusal.Reason == ingest.Conflict:
		outcome(w, http.StatusUnprocessableEntity, "duplicate", "", "this Idempotency-Key came before with other content")
	case errors.As(err, &refusal) && refusal.Reason == ingest.Full:
		w.Header().Set("Retry-After", strconv.Itoa(60))
		outcome(w, http.StatusInsufficientStorage, "no-store", "", refusal.What)
	default:
		w.Header().Set("Retry-After", strconv.Itoa(10))
		outcome(w, http.StatusServiceUnavailable, fhir.CodeTransient, "", "it could not be kept; send it again")
	}
}
