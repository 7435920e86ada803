package bom

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"slices"
)

// Build is how an image was made.
type Build struct {
	Image
	Board, Commit string            // of the source; "+dirty" behind it when there were changes
	Release       bool              // whether only what is locked was taken
	Tools         map[string]string // version of each
	Made          map[string]string // SHA-256 of each file made
}

// statement is an in-toto Statement (v1) with a SLSA Provenance (v1) predicate.
// It has no time and no invocation: they would differ from build to build.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]any    `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters,omitempty"`
		ResolvedDependencies []resource        `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// Write writes the build's provenance.
func (b Build) Write(w io.Writer) error {
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, name := range slices.Sorted(maps.Keys(b.Made)) {
		s.Subject = append(s.Subject, resource{Name: name, Digest: map[string]string{"sha256": b.Made[name]}})
	}
	d := &s.Predicate.BuildDefinition
	d.BuildType = "urn:clinicgate:image:1"
	d.ExternalParameters = map[string]any{"board": b.Board, "version": b.Version, "release": b.Release}
	d.InternalParameters = b.Tools
	source := resource{Name: "source", URI: "urn:clinicgate:source"}
	if b.Commit != "" {
		source.Digest = map[string]string{"gitCommit": b.Commit}
	}
	d.ResolvedDependencies = append(d.ResolvedDependencies, source)
	for _, p := range b.sorted() {
		d.ResolvedDependencies = append(d.ResolvedDependencies, resource{URI: p.PURL, Digest: p.digest()})
	}
	s.Predicate.RunDetails.Builder.ID = "urn:clinicgate:workstation"
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

func decode(text string) ([]byte, error) { return base64.StdEncoding.DecodeString(text) }
