// Package fhir holds the words of FHIR R4 that syncd needs to carry records
// without understanding medicine: references, searches, the envelope of a
// resource, outcomes. It never re-marshals a resource: 1.00 stays 1.00, and an
// extension nobody knows stays where it was.
package fhir

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors a caller answers differently.
var (
	ErrType   = errors.New("not a FHIR R4 resource type")
	ErrID     = errors.New("not a FHIR id")
	ErrParam  = errors.New("search parameter not supported here")
	ErrFormat = errors.New("only JSON is spoken here")
)

// MediaType is what every answer carries (http.html#mime-type).
const MediaType = "application/fhir+json; charset=utf-8"

// Release is the FHIR release spoken.
const Release = "4.0.1"

// Ref names one resource: "Patient/123".
type Ref struct {
	Type, ID string
}

// String is the relative reference.
func (r Ref) String() string { return r.Type + "/" + r.ID }

// ParseRef checks the type and id of a read.
func ParseRef(typ, id string) (Ref, error) {
	if !IsType(typ) {
		return Ref{}, fmt.Errorf("%w: got %q", ErrType, clip(typ))
	}
	if !isID(id) {
		return Ref{}, fmt.Errorf("%w: want 1 to 64 letters, digits, dots and hyphens", ErrID)
	}
	return Ref{typ, id}, nil
}

// resolveRef reads Reference.reference: relative, or absolute below base, with
// or without a version. Anything else (urn:, #contained, another server) names
// nothing we could compare and is an error.
func resolveRef(reference, base string) (Ref, error) {
	rel := reference
	if base != "" {
		rel = strings.TrimPrefix(reference, base+"/")
	}
	parts := strings.Split(rel, "/")
	if len(parts) == 4 && parts[2] == "_history" && isID(parts[3]) {
		parts = parts[:2]
	}
	if len(parts) != 2 {
		return Ref{}, fmt.Errorf("%w: a reference that is neither relative nor below the server's base", ErrID)
	}
	return ParseRef(parts[0], parts[1])
}

// IsType reports whether s is a resource type of R4, in its exact spelling.
func IsType(s string) bool {
	_, ok := slices.BinarySearch(types[:], s)
	return ok
}

// isID holds datatypes.html#id: [A-Za-z0-9\-\.]{1,64}.
func isID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return s != "." && s != ".." // would be eaten by path cleaning on the way
}

// clip bounds what an error quotes of a stranger's text.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
