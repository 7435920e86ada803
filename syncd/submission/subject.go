package submission

import (
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

// maxNumber bounds a patient's number, in bytes.
const maxNumber = 256

// subject finds the one patient that all resources speak of. References that name
// somebody else than a patient (a group, a device) are refused: whose record it
// belongs to would be a guess.
func (s *Submission) subject(all []entry, base string) *Problem {
	for _, e := range all {
		for _, name := range []string{"subject", "patient", "for"} {
			v := e.resource.Get(name)
			if v == nil {
				continue
			}
			if p := s.Subject.join(v, e.at+"."+name, base); p != nil {
				return p
			}
		}
	}
	if s.Subject == (Subject{}) {
		return problem(codeRequired, all[0].at, "no resource says whose it is: want a subject that refers to a patient")
	}
	if s.Subject.Ref != (fhir.Ref{}) {
		s.Subject.Name = "" // free text beside a reference is no second opinion
	}
	return nil
}

// join holds one more reference against what was said before.
func (s *Subject) join(v *tree.Node, at, base string) *Problem {
	if !v.Object() {
		return problem(codeStructure, at, "want one reference")
	}
	said := false
	if text := v.Get("reference").Text(); text != "" {
		rel := text
		if base != "" {
			rel = strings.TrimPrefix(text, base+"/")
		}
		typ, id, _ := strings.Cut(rel, "/")
		ref, err := fhir.ParseRef(typ, id)
		if err != nil || ref.Type != "Patient" {
			return problem(codeValue, at+".reference", "want Patient/ID, a patient of the EHR")
		}
		if s.Ref != (fhir.Ref{}) && s.Ref != ref {
			return problem(codeRule, at+".reference", "another patient than before: one submission is about one patient")
		}
		s.Ref, said = ref, true
	}
	if number := v.Get("identifier", "value").Text(); number != "" {
		if len(number) > maxNumber || s.Number != "" && s.Number != number {
			return problem(codeRule, at+".identifier", "another number than before, or one over %d bytes", maxNumber)
		}
		s.Number, said = number, true
		if system := v.Get("identifier", "system").Text(); len(system) <= maxNumber {
			s.System = system
		}
	}
	if name := v.Get("display").Text(); len(name) <= maxNumber {
		s.Name = name
	}
	if !said {
		return problem(codeRequired, at, "want a reference to a patient, or an identifier")
	}
	return nil
}
