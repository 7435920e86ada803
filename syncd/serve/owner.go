package serve

import (
	"context"
	"net/http"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// owned answers if whoever asks may see that patient's record: before it is read
// where the question names the patient, else before it is shown.
func (h *Handler) owned(r *http.Request, q fhir.Query, g grant.Grant, e trail.Entry) answer {
	patient, named := patientIn(q)
	if named {
		e.Patient = patient.String()
		if no := h.over(r, q, g, &e, patient); no != nil {
			return h.denied(e, no)
		}
	}
	a := h.read(r, q)
	if named || a.status >= http.StatusBadRequest {
		return h.traced(e, a)
	}
	env, err := fhir.Decode(a.whole, h.EHR)
	if err != nil {
		return h.traced(e, h.unanswered(err))
	}
	if env.Patient.ID != "" {
		e.Patient = env.Patient.String()
	}
	if no := h.over(r, q, g, &e, env.Patient); no != nil {
		return h.denied(e, no)
	}
	return h.traced(e, a)
}

// over asks the grant about that patient, if it matters whose record it is.
func (h *Handler) over(r *http.Request, q fhir.Query, g grant.Grant, e *trail.Entry, patient fhir.Ref) error {
	if !g.NeedsOwner() {
		return nil
	}
	purpose, err := g.Over(h.owner(r.Context(), g, q, patient))
	if err == nil {
		e.Purpose = purpose
	}
	return err
}

// patientIn is the patient a question names.
func patientIn(q fhir.Query) (fhir.Ref, bool) {
	switch q := q.(type) {
	case fhir.Search:
		return q.Patient, true
	case fhir.Ref:
		return q, q.Type == "Patient"
	}
	return fhir.Ref{}, false
}

// owner finds out the numbers of a patient, from the cache when the EHR is away.
func (h *Handler) owner(ctx context.Context, g grant.Grant, q fhir.Query, patient fhir.Ref) grant.Owner {
	if patient.ID == "" {
		return grant.Owner{None: true, Type: typeOf(q)}
	}
	o := grant.Owner{Type: typeOf(q), Names: []string{g.Name(patient.ID)}}
	res, err := h.Records.Read(ctx, patient)
	var numbers []string
	if err == nil {
		numbers, err = fhir.Numbers(res.Body)
	}
	if err != nil {
		o.Unsure = true
	}
	for _, n := range numbers {
		o.Names = append(o.Names, g.Name(n))
	}
	return o
}

func typeOf(q fhir.Query) string {
	switch q := q.(type) {
	case fhir.Search:
		return q.Type
	case fhir.Ref:
		return q.Type
	}
	return ""
}
