package handin

import (
	"context"
	"errors"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/submission"
	"clinicgate/syncd/trail"
)

// errOver is a session that ended while its submission was on the way.
var errOver = errors.New("the session ended before everything was here: log in and send it again")

// A mismatch is a submission that contradicts what is known of its patient.
type mismatch struct{ reason identity.Reason }

func (m *mismatch) Error() string {
	switch m.reason {
	case identity.NoSuchPatient:
		return "the EHR knows no such patient: look the patient up again"
	case identity.NoIdentifier:
		return "it does not say whose it is: refer to the patient as Patient/ID"
	case identity.OnlyIdentifier:
		return "a number alone can be mistyped: refer to the patient as Patient/ID, or give the name as display"
	}
	return "what it says of the patient does not agree with the record (" + string(m.reason) + "): look the patient up again"
}

// covered says whether a doctor may hand that in: the session still lives, it cares
// for the patient, and the patient is who the submission says. With the EHR out of
// reach what was read before counts; what can't be told now is asked before it is
// delivered.
func (h *Handler) covered(ctx context.Context, s sender, sub *submission.Submission, e *trail.Entry) error {
	if !h.Roster().Lives(s.person.Session, s.peer) {
		return errOver
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	claim := identity.Claim{ID: sub.Subject.Number, Issuer: sub.Subject.System, Name: sub.Subject.Name}
	ref := sub.Subject.Ref
	if ref != (fhir.Ref{}) {
		claim.Ref = ref.String()
	}
	got := identity.Judge(claim, h.Known.Know(ctx, claim))
	switch got.Verdict {
	case identity.Match:
		e.Patient = got.Ref
		ref = fhir.Ref{Type: "Patient", ID: got.Ref[len("Patient/"):]}
	case identity.Unasked:
	default:
		return &mismatch{got.Reason}
	}
	purpose, err := s.person.Over(h.owner(ctx, s.person, ref, sub.Subject.Number))
	e.Purpose = purpose
	return err
}

// owner finds out the numbers of a patient, from the cache when the EHR is away.
func (h *Handler) owner(ctx context.Context, g grant.Grant, ref fhir.Ref, number string) grant.Owner {
	o := grant.Owner{}
	if number != "" {
		o.Names = append(o.Names, g.Name(number))
	}
	if ref == (fhir.Ref{}) {
		o.Unsure = true
		return o
	}
	o.Names = append(o.Names, g.Name(ref.ID))
	res, err := h.Records.Read(ctx, ref)
	var numbers []string
	if err == nil {
		numbers, err = fhir.Numbers(res.Body)
	}
	o.Unsure = err != nil
	for _, n := range numbers {
		o.Names = append(o.Names, g.Name(n))
	}
	return o
}
