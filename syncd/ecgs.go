package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/format"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/serve"
)

// Bounds of what a doctor is shown.
const (
	maxECGs = 50       // the newest
	maxECG  = 16 << 20 // bytes; Holters are for the hospital's programs
	whose   = 2 * time.Second
)

// looking adds the ECGs of the queue to an endpoint, by the records' rules.
func (s *state) looking(mux *http.ServeMux, records *serve.Handler) {
	h := serve.Looking{Handler: records, ECGs: ecgs{s}}
	mux.Handle(serve.ECGPath, h)
	mux.Handle(serve.ECGPath+"/", h)
}

// ecgs are the queue's.
type ecgs struct{ s *state }

// List returns the newest, those that wait for delivery and those delivered.
func (q ecgs) List(ctx context.Context) ([]serve.ECG, error) {
	var all []queue.Brief
	for _, st := range []queue.State{queue.Waiting, queue.Delivering, queue.Held, queue.Delivered} {
		for _, b := range q.s.queue.List(st) {
			if drawn(b) {
				all = append(all, b)
			}
		}
	}
	slices.SortFunc(all, func(a, b queue.Brief) int { return b.Accepted.Compare(a.Accepted) })
	ctx, cancel := context.WithTimeout(ctx, whose)
	defer cancel()
	var out []serve.ECG
	for _, b := range all {
		if len(out) == maxECGs {
			break
		}
		one, err := q.describe(ctx, b)
		switch {
		case errors.Is(err, serve.ErrNoECG), errors.Is(err, queue.ErrUnknown): // another kind of DICOM; given up meanwhile
		case err != nil:
			return nil, err
		default:
			out = append(out, one)
		}
	}
	return out, nil
}

// drawn says whether an item may be an ECG; of DICOM only its description tells.
func drawn(b queue.Brief) bool {
	return b.Size <= maxECG && slices.Contains([]string{format.DICOM, format.AECG, format.SCPECG}, b.Kind)
}

// Find returns one by its number.
func (q ecgs) Find(ctx context.Context, id string) (serve.ECG, error) {
	for _, st := range []queue.State{queue.Waiting, queue.Delivering, queue.Held, queue.Delivered} {
		for _, b := range q.s.queue.List(st) {
			if b.ID.String() == id && drawn(b) {
				ctx, cancel := context.WithTimeout(ctx, whose)
				defer cancel()
				return q.describe(ctx, b)
			}
		}
	}
	return serve.ECG{}, serve.ErrNoECG
}

// describe says what is known of an item, and whose it is if that is known.
func (q ecgs) describe(ctx context.Context, b queue.Brief) (serve.ECG, error) {
	it, err := q.s.queue.Describe(b.ID)
	if err != nil {
		return serve.ECG{}, err
	}
	if it.Kind == format.DICOM {
		if class, known := dataset.FindClass(it.Meta[queue.MetaClassUID]); !known || !class.ECG {
			return serve.ECG{}, serve.ErrNoECG
		}
	}
	one := serve.ECG{
		ID: b.ID.String(), Kind: it.Kind, Origin: it.Origin, State: b.State.String(), Accepted: b.Accepted,
		Name: it.Meta[queue.MetaPatientName], Birth: it.Meta[queue.MetaPatientBirth], Number: it.Meta[queue.MetaPatientID],
	}
	claim := identity.Claim{
		ID: one.Number, Issuer: it.Meta[queue.MetaPatientIssuer], Name: one.Name, Birth: one.Birth,
		Study: it.Meta[queue.MetaStudyUID], Accession: it.Meta[queue.MetaAccession], Ref: it.Meta[queue.MetaPatientRef],
	}
	if got := identity.Judge(claim, q.s.register.Know(ctx, claim)); got.Verdict == identity.Match {
		if typ, ref, ok := strings.Cut(got.Ref, "/"); ok {
			one.Patient = fhir.Ref{Type: typ, ID: ref}
		}
	}
	return one, nil
}

// Body reads an item whole, and holds it against what was accepted.
func (q ecgs) Body(id string) ([]byte, error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(queue.ID{}) {
		return nil, serve.ErrNoECG
	}
	r, err := q.s.queue.Body(queue.ID(raw))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxECG+1))
	if err == nil && len(b) > maxECG {
		err = fmt.Errorf("more than %d bytes", maxECG)
	}
	return b, err
}
