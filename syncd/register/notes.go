package register

import (
	"encoding/json"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
)

// maxCarriers bounds the patients noted under one number.
const maxCarriers = 8

func noteKey(number string) string { return "listing/noted/" + number }

// Learn notes a patient that was read, under each of the patient's numbers, so that
// an upload can be held against the patient's record when the EHR is out of reach.
func (r *Register) Learn(q fhir.Query, a fhir.Answer) {
	ref, ok := q.(fhir.Ref)
	if !ok || ref.Type != "Patient" || a.Policy.NoStore {
		return
	}
	p, err := fhir.DecodePatient(a.Body)
	if err != nil {
		return // shown as it is; who it is can't be told
	}
	for _, n := range p.Numbers {
		if n.Value == "" {
			continue
		}
		refs := r.noted(n.Value)
		if slices.Contains(refs, ref) || len(refs) >= maxCarriers {
			continue
		}
		body, err := json.Marshal(append(refs, ref))
		if err == nil {
			err = r.opt.Store.Put(noteKey(n.Value), fhir.Answer{Body: body, At: time.Now()})
		}
		if err != nil {
			r.opt.Log.Error("note a patient's number", "err", err)
			return
		}
	}
}

// noted are the patients read before who carried a number then.
func (r *Register) noted(number string) (refs []fhir.Ref) {
	a, ok, err := r.opt.Store.Get(noteKey(number))
	if err != nil || !ok || json.Unmarshal(a.Body, &refs) != nil {
		return nil
	}
	return refs
}
