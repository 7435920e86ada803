package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// owned answers if whoever asks may see that patient's record: before it is read
// where the question names the patient, else before it is shown.
func (h *Handler) owned(ctx context.Context, in inquiry, q fhir.Query, g grant.Grant, e trail.Entry) answer {
	patient, named := patientIn(q)
	if named {
		e.Patient = patient.String()
		if no := h.over(ctx, q, g, &e, patient); no != nil {
			return h.denied(e, no)
		}
	}
	if s, ok := q.(fhir.Search); ok && s.Patient.ID == "" {
		return h.found(ctx, in, s, g, e)
	}
	a := h.read(ctx, in, q)
	if named || a.status >= http.StatusBadRequest {
		return h.traced(e, a)
	}
	patients, err := h.patientsOf(q, a.whole)
	if err != nil {
		return h.traced(e, h.unanswered(err))
	}
	for _, patient := range patients {
		if patient.ID != "" {
			e.Patient = patient.String()
		}
		if no := h.over(ctx, q, g, &e, patient); no != nil {
			return h.denied(e, no)
		}
	}
	return h.traced(e, a)
}

// patientsOf are whose a record is: a history may have been filed under another.
func (h *Handler) patientsOf(q fhir.Query, body []byte) ([]fhir.Ref, error) {
	if _, ok := q.(fhir.History); !ok {
		env, err := fhir.Decode(body, h.EHR)
		return []fhir.Ref{env.Patient}, err
	}
	resources, err := fhir.Resources(body)
	if err != nil {
		return nil, err
	}
	all := []fhir.Ref{}
	for _, raw := range resources {
		if raw == nil {
			continue // a deletion
		}
		env, err := fhir.Decode(raw, h.EHR)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, env.Patient) {
			all = append(all, env.Patient)
		}
	}
	if len(all) == 0 { // nothing left that tells whose it was
		all = append(all, fhir.Ref{})
	}
	return all, nil
}

// found answers a search for patients with those that whoever asks may see.
func (h *Handler) found(ctx context.Context, in inquiry, s fhir.Search, g grant.Grant, e trail.Entry) answer {
	res, err := h.Records.Read(ctx, s)
	if err != nil {
		return h.traced(e, h.unanswered(err))
	}
	hidden := 0
	if g.NeedsOwner() {
		if res.Body, hidden, err = h.sift(res.Body, s, g); err != nil {
			return h.traced(e, h.unanswered(err))
		}
	}
	a := answer{status: http.StatusOK, trace: string(res.How), header: fresh(res)}
	v, _ := view(s, res, h.Self)
	if a.body, err = fhir.Show(res.Body, v); err != nil {
		return h.traced(e, h.unanswered(err))
	}
	if hidden > 0 {
		h.Log.Info("patients found were not shown", "patients", hidden, "room", e.Room, "role", e.Role)
	}
	return h.traced(e, a)
}

// sift leaves out of a joined answer whom the grant does not cover.
func (h *Handler) sift(joined []byte, s fhir.Search, g grant.Grant) (kept []byte, hidden int, err error) {
	entries, err := fhir.Entries(joined)
	if err != nil {
		return nil, 0, err
	}
	entries = slices.DeleteFunc(entries, func(entry json.RawMessage) bool {
		resource, include, ok := fhir.ResourceOf(entry)
		if include {
			return false // a doctor, a hospital: see fhir.Search's check of what is included
		}
		p, err := fhir.DecodePatient(resource)
		o := grant.Owner{Type: s.Type, Names: []string{g.Name(p.ID)}, Unsure: err != nil || !ok}
		for _, n := range p.Numbers {
			o.Names = append(o.Names, g.Name(n.Value))
		}
		if _, no := g.Over(o); no != nil {
			hidden++
			return true
		}
		return false
	})
	return fhir.Join(entries), hidden, nil
}

// over asks the grant about that patient, if it matters whose record it is.
func (h *Handler) over(ctx context.Context, q fhir.Query, g grant.Grant, e *trail.Entry, patient fhir.Ref) error {
	if !g.NeedsOwner() {
		return nil
	}
	purpose, err := g.Over(h.owner(ctx, g, q, patient))
	if err == nil {
		e.Purpose = purpose
	}
	return err
}

// patientIn is the patient a question names.
func patientIn(q fhir.Query) (fhir.Ref, bool) {
	switch q := q.(type) {
	case fhir.Search:
		return q.Patient, q.Patient.ID != ""
	case fhir.Everything:
		return q.Patient, true
	case fhir.Version:
		return q.Of, q.Of.Type == "Patient"
	case fhir.History:
		return q.Of, q.Of.Type == "Patient"
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
	case fhir.Version:
		return q.Of.Type
	case fhir.History:
		return q.Of.Type
	case fhir.Everything:
		return q.Patient.Type
	}
	return ""
}
