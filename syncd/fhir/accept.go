package fhir

import (
	"fmt"
	"mime"
	"strings"
)

// Acceptable reports whether JSON satisfies a request's _format parameter, which
// wins, and otherwise its Accept header (http.html#mime-type). The error is
// ErrFormat and says what to ask for.
func Acceptable(format, accept string) error {
	if format != "" {
		// + in an unescaped query has become a space.
		if s := strings.ReplaceAll(format, " ", "+"); s == "json" || isJSON(s) {
			return nil
		}
		return fmt.Errorf("%w: got _format=%q, want json", ErrFormat, clip(format))
	}
	if strings.TrimSpace(accept) == "" {
		return nil
	}
	for i, one := range strings.Split(accept, ",") {
		if i == 32 {
			break
		}
		if isJSON(one) {
			return nil
		}
	}
	return fmt.Errorf("%w: got Accept %q, want application/fhir+json", ErrFormat, clip(accept))
}

// isJSON reports whether one media range covers FHIR JSON of release 4.0.
func isJSON(s string) bool {
	typ, params, err := mime.ParseMediaType(s)
	if err != nil || params["q"] == "0" {
		return false
	}
	if v, ok := params["fhirversion"]; ok && v != "4.0" && v != Release {
		return false
	}
	switch typ {
	case "application/fhir+json", "application/json", "text/json", "application/json+fhir", "application/*", "*/*":
		return true
	}
	return false
}

// JSONBody reports whether a server's Content-Type announces FHIR JSON.
func JSONBody(contentType string) bool {
	typ, _, err := mime.ParseMediaType(contentType)
	return err == nil && (typ == "application/fhir+json" || typ == "application/json")
}
