package submission

import (
	"encoding/base64"
	"slices"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

// A rule is what is wanted of a type here: FHIR R4's own cardinalities of what
// matters on the way, no profile.
type rule struct {
	required []string
	status   []string // what status may be; none: it is not looked at
	alone    bool     // may be handed in without a Bundle
}

// Codes of status, where a type takes one of few.
var (
	eventStatus   = []string{"preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "entered-in-error", "unknown"}
	requestStatus = []string{"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"}
	taskStatus    = []string{"draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress", "on-hold", "failed", "completed", "entered-in-error"}
	reportStatus  = []string{"registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled", "entered-in-error", "unknown"}
	valueStatus   = []string{"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}
	docStatus     = []string{"current", "superseded", "entered-in-error"}
	studyStatus   = []string{"registered", "available", "cancelled", "entered-in-error", "unknown"}
)

func ruleFor(typ string) (rule, bool) {
	switch typ {
	case "Binary":
		return rule{required: []string{"contentType", "data"}}, true
	case "Communication":
		return rule{required: []string{"status", "payload"}, status: eventStatus, alone: true}, true
	case "DiagnosticReport":
		return rule{required: []string{"status", "code"}, status: reportStatus}, true
	case "DocumentReference":
		return rule{required: []string{"status", "content"}, status: docStatus, alone: true}, true
	case "ImagingStudy":
		return rule{required: []string{"status", "subject"}, status: studyStatus}, true
	case "Media":
		return rule{required: []string{"status", "content"}, status: eventStatus, alone: true}, true
	case "Observation":
		return rule{required: []string{"status", "code"}, status: valueStatus}, true
	case "Provenance":
		return rule{required: []string{"target", "recorded", "agent"}}, true
	case "ServiceRequest":
		return rule{required: []string{"status", "intent", "subject"}, status: requestStatus, alone: true}, true
	case "Task":
		return rule{required: []string{"status", "intent"}, status: taskStatus, alone: true}, true
	}
	return rule{}, false
}

// Alone lists the types that are taken without a Bundle around them, sorted.
func Alone() []string {
	return []string{"Communication", "DocumentReference", "Media", "ServiceRequest", "Task"}
}

// check holds a resource against what is wanted of its type.
func check(e *entry, typ string, single bool) *Problem {
	if !fhir.IsType(typ) {
		return problem(codeStructure, e.at, "resourceType is missing or none of FHIR R4")
	}
	r, ok := ruleFor(typ)
	switch {
	case !ok:
		return problem(codeNo, e.at, "%s is not taken this way", typ)
	case single && !r.alone:
		return problem(codeNo, e.at, "%s comes in a Bundle only, with what it belongs to", typ)
	}
	for _, name := range r.required {
		v := e.resource.Get(name)
		if v == nil || v.List() && len(v.Items()) == 0 || string(v.Raw()) == `""` || string(v.Raw()) == "null" {
			return problem(codeRequired, e.at+"."+name, "is missing")
		}
	}
	if s := e.resource.Get("status").Text(); len(r.status) > 0 && !slices.Contains(r.status, s) {
		return problem(codeValue, e.at+".status", "want one of %q", r.status)
	}
	if _, err := fhir.Decode(e.resource.Raw(), ""); err != nil {
		return problem(codeStructure, e.at, "%v", err)
	}
	if typ == "Binary" {
		return inline(e.resource.Get("data"), e.at+".data")
	}
	return attachments(e)
}

// attachments are looked at wherever they stand: what is inside must be whole.
func attachments(e *entry) (p *Problem) {
	e.resource.Walk(func(name string, v *tree.Node) {
		if p != nil || !v.Object() || name != "attachment" && name != "content" && name != "contentAttachment" && name != "presentedForm" && name != "valueAttachment" {
			return
		}
		if v.Get("attachment") != nil {
			return // DocumentReference.content: the attachment is in it
		}
		switch data := v.Get("data"); {
		case data == nil && v.Get("url") == nil:
			p = problem(codeRequired, e.at+"."+name, "an attachment has neither data nor url")
		case data != nil && v.Get("contentType").Text() == "":
			p = problem(codeRequired, e.at+"."+name+".contentType", "is missing")
		case data != nil:
			p = inline(data, e.at+"."+name+".data")
		}
	})
	return p
}

// inline is base64 as FHIR has it: with padding, of something.
func inline(data *tree.Node, at string) *Problem {
	s := data.Text()
	if n, err := base64.StdEncoding.DecodeString(s); err != nil || len(n) == 0 {
		return problem(codeValue, at, "is not base64 of anything")
	}
	return nil
}
