package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/format"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/submission"
)

// MetaResources are the resources of a submission, "Type/id" with spaces between.
const MetaResources = "fhir-resources"

// Submission lets in what was handed in as FHIR, under the name its sender gave it:
// the same name with another content is refused.
func (d *Door) Submission(ctx context.Context, origin, name string, s *submission.Submission) (queue.Receipt, error) {
	it := queue.Item{
		Key: fmt.Sprintf("fhir:%x", sha256.Sum256([]byte(name))), Lane: lane.Routine, Kind: format.FHIR, Origin: origin,
		Order: "patient:" + s.Subject.Number, Digest: sha256.Sum256(s.Body), Size: int64(len(s.Body)),
		Meta: map[string]string{queue.MetaContentType: "application/fhir+json", MetaResources: refs(s.Refs)},
	}
	if s.Subject.Ref != (fhir.Ref{}) {
		it.Meta[queue.MetaPatientRef] = s.Subject.Ref.String()
		it.Order = s.Subject.Ref.String()
	}
	describe(it.Meta, format.Patient{ID: s.Subject.Number, Issuer: s.Subject.System, Name: s.Subject.Name})
	switch {
	case s.Urgent:
		it.Lane = lane.Stat
	case len(s.Body) > bulk:
		it.Lane = lane.Bulk
	}
	return d.accept(ctx, it, bytes.NewReader(s.Body))
}

// NotFHIR notes what was handed in and is none.
func (d *Door) NotFHIR(origin string, why error) error {
	return d.refuse(origin, Malformed, why.Error(), why)
}

func refs(all []fhir.Ref) string {
	var b strings.Builder
	for i, r := range all {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.String())
	}
	return b.String()
}
