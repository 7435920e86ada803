package serve

import (
	"errors"
	"net/http"
	"strconv"

	"clinicgate/syncd/fhir"
)

// failure is an error with its OperationOutcome.
func failure(status int, code, text string) answer {
	return answer{
		status: status, header: map[string]string{}, body: fhir.Failure(code, text),
		trace: "failed: " + strconv.Itoa(status),
	}
}

// unanswered turns a read's error into what a person can act on.
func (h *Handler) unanswered(err error) answer {
	var no *fhir.Refusal
	switch {
	case errors.As(err, &no):
		return ehrSaysNo(no)
	case errors.Is(err, fhir.ErrForeign):
		return failure(http.StatusBadGateway, fhir.CodeException,
			"the EHR answered with a record that was not asked for; it is not shown. Do not rely on the EHR for this patient now; call support")
	case errors.Is(err, fhir.ErrUnreachable):
		a := failure(http.StatusGatewayTimeout, fhir.CodeTimeout,
			"the EHR can't be reached ("+err.Error()+") and this has not been read here before, so it is not known here whether it exists. "+
				"Try again when the connection is back; until then go by the patient's own papers or call the hospital")
		a.header["Retry-After"] = "10"
		return a
	case errors.Is(err, fhir.ErrNonsense):
		return failure(http.StatusBadGateway, fhir.CodeException,
			"the EHR's answer can't be used ("+err.Error()+"); it is not shown. Try again, and if it stays so call support")
	}
	h.Log.Error("a read failed", "err", err)
	return failure(http.StatusInternalServerError, fhir.CodeException, "the record could not be read; call support")
}

// ehrSaysNo passes the EHR's own answer on. Its 401 is about us, not about the
// person at the workstation, who must not be told to log in again.
func ehrSaysNo(no *fhir.Refusal) answer {
	if no.Status == http.StatusUnauthorized {
		return failure(http.StatusBadGateway, fhir.CodeException, "the EHR does not accept this gateway: call support")
	}
	return answer{status: no.Status, header: map[string]string{}, body: no.Body, trace: "refused by the EHR: " + strconv.Itoa(no.Status)}
}

func write(w http.ResponseWriter, a answer) {
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body != nil {
		w.Header().Set("Content-Type", fhir.MediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a workstation that went away is nobody's error
}
