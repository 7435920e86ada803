package fhir

import (
	"encoding/json"
	"slices"
	"time"
)

// Capability is the CapabilityStatement of the gateway: what it does, and no
// more. date is the start of the program; self its base URL.
func Capability(self, software string, date time.Time) []byte {
	params := []capParam{{"patient", "reference"}}
	for _, p := range passed {
		if p.typ != "" {
			params = append(params, capParam{p.name, p.typ})
		}
	}
	var resources []capResource
	for _, t := range types {
		r := capResource{Type: t, Interaction: []capCode{{"read"}}, Versioning: "versioned", ConditionalRead: "not-match"}
		if _, ok := slices.BinarySearch(clinical[:], t); ok {
			r.Interaction = append(r.Interaction, capCode{"search-type"})
			r.SearchParam = params
		}
		if t == "AuditEvent" { // a patient's own
			r.Interaction = append(r.Interaction, capCode{"search-type"})
			r.SearchParam = params[:1]
		}
		resources = append(resources, r)
	}
	data, _ := json.Marshal(capability{ // strings and numbers always marshal
		ResourceType: "CapabilityStatement",
		Status:       "active",
		Date:         date.UTC().Format(time.RFC3339),
		Kind:         "instance",
		Software:     capSoftware{"clinicgate", software},
		Implementation: capImplementation{
			Description: "Gateway of a clinic: records of the clinic's EHR, kept for when it is out of reach. " +
				"An answer from the cache carries Age and Cache-Status.",
			URL: self,
		},
		FHIRVersion: Version,
		Format:      []string{"application/fhir+json", "json"},
		Rest: []capRest{{
			Mode: "server",
			Documentation: "Read only. A read with If-None-Match answers 304 to a match. A search names one patient and " +
				"answers all matches, or pages of _count in the order of _sort.",
			Security: capSecurity{
				Description: "Mutual TLS with a certificate of the clinic's devices, and a bearer token of a live card session bound to it.",
			},
			Resource: resources,
		}},
	})
	return data
}

type capability struct {
	ResourceType   string            `json:"resourceType"`
	Status         string            `json:"status"`
	Date           string            `json:"date"`
	Kind           string            `json:"kind"`
	Software       capSoftware       `json:"software"`
	Implementation capImplementation `json:"implementation"`
	FHIRVersion    string            `json:"fhirVersion"`
	Format         []string          `json:"format"`
	Rest           []capRest         `json:"rest"`
}

type capSoftware struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type capImplementation struct {
	Description string `json:"description"`
	URL         string `json:"url"`
}

type capRest struct {
	Mode          string        `json:"mode"`
	Documentation string        `json:"documentation"`
	Security      capSecurity   `json:"security"`
	Resource      []capResource `json:"resource"`
}

type capSecurity struct {
	Description string `json:"description"`
}

type capResource struct {
	Type            string     `json:"type"`
	Interaction     []capCode  `json:"interaction"`
	Versioning      string     `json:"versioning"`
	ConditionalRead string     `json:"conditionalRead"`
	SearchParam     []capParam `json:"searchParam,omitempty"`
}

type capCode struct {
	Code string `json:"code"`
}

type capParam struct {
	Name string `json:"name"`
	Type string `json:"type"`
}
