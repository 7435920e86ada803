package register

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/worklist"
)

// referred is the patient of a reference, and whether the EHR was asked just now.
// That there is none is the EHR's to say.
func (r *Register) referred(ctx context.Context, reference string) (persons []identity.Person, asked bool) {
	typ, id, _ := strings.Cut(reference, "/")
	ref, err := fhir.ParseRef(typ, id)
	if err != nil || typ != "Patient" {
		return nil, true // nobody can be called so
	}
	res, err := r.lasting.Read(ctx, ref)
	var no *fhir.Refusal
	switch {
	case errors.As(err, &no):
		return nil, no.Status == http.StatusNotFound || no.Status == http.StatusGone
	case err != nil:
		return nil, false
	}
	p, err := fhir.DecodePatient(res.Body)
	if err != nil {
		r.opt.Log.Warn("a patient can't be read", "err", err)
		return nil, false
	}
	return []identity.Person{worklist.Person(p)}, res.How == cache.Fetched || res.How == cache.Replaced || res.How == cache.Revalidated
}
