package fhir

import (
	"cmp"
	"encoding/json"
)

// Issue codes used here (valueset-issue-type.html).
const (
	CodeInvalid      = "invalid"
	CodeLogin        = "login"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not-found"
	CodeDeleted      = "deleted"
	CodeNotSupported = "not-supported"
	CodeTooCostly    = "too-costly"
	CodeException    = "exception"
	CodeTransient    = "transient"
	CodeTimeout      = "timeout"
	CodeInformation  = "informational"
	CodeConflict     = "conflict"
)

// Outcome is an OperationOutcome with one issue. text is for a person: what
// happened and what to do.
func Outcome(severity, code, text string) []byte {
	data, _ := json.Marshal(outcome{ // strings always marshal
		ResourceType: "OperationOutcome",
		Issue:        []issue{{severity, code, details{text}}},
	})
	return data
}

// Failure is an Outcome of severity error.
func Failure(code, text string) []byte { return Outcome("error", code, text) }

// Remark is a search entry that says something about the answer
// (search.mode = outcome).
func Remark(code, text string) json.RawMessage {
	return append(append([]byte(`{"resource":`), Outcome("warning", code, text)...), `,"search":{"mode":"outcome"}}`...)
}

type outcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

type issue struct {
	Severity string  `json:"severity"`
	Code     string  `json:"code"`
	Details  details `json:"details"`
}

type details struct {
	Text string `json:"text"`
}

// Said is what an OperationOutcome says to people, in few words; empty when it says
// nothing.
func Said(body []byte) string {
	var o struct {
		Issue []struct {
			Diagnostics string
			Details     details
		}
	}
	if json.Unmarshal(body, &o) != nil || len(o.Issue) == 0 {
		return ""
	}
	return clip(cmp.Or(o.Issue[0].Details.Text, o.Issue[0].Diagnostics))
}
