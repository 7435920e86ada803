package fhir

import (
	"encoding/json"
	"slices"
	"time"
)

// Capability is the CapabilityStatement of the gateway: what it does, and no
// more. date is the start of the program; self its base URL. creates are the types
// that may be handed in new; none: records are only read.
func Capability(self, software string, date time.Time, creates ...string) []byte {
	var resources []capResource
	for _, t := range types {
		r := capResource{
			Type: t, Interaction: []capCode{{"read"}, {"vread"}, {"history-instance"}},
			Versioning: "versioned", ReadHistory: true, ConditionalRead: "full-support",
		}
		if slices.Contains(Searchable(), t) {
			r.Interaction = append(r.Interaction, capCode{"search-type"})
			r.takes(t)
		}
		if slices.Contains(creates, t) {
			r.Interaction = append(r.Interaction, capCode{"create"})
		}
		switch t {
		case "AuditEvent": // a patient's own
			r.Interaction = append(r.Interaction, capCode{"search-type"})
			r.SearchParam = []capParam{{"patient", KindRef}}
		case "Patient":
			r.Operation = []capOperation{{"everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything"}}
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
		FHIRVersion: Release,
		Format:      []string{"application/fhir+json", "json"},
		Rest: []capRest{{
			Mode: "server",
			Documentation: writing(creates) + " If-None-Match and If-Modified-Since answer 304. A search names one patient, or finds " +
				"patients, by GET or by POST to _search; it answers all matches, or pages of _count in the order of _sort. Unknown " +
				"parameters are refused, or left out and named with Prefer: handling=lenient. A batch holds reads alone.",
			Interaction: []capCode{{"batch"}, {"transaction"}},
			Security: capSecurity{
				Description: "Mutual TLS with a certificate of the clinic's devices, and a bearer token of a live card session bound to it.",
			},
			Resource: resources,
		}},
	})
	return data
}

// writing says in words what may be written.
func writing(creates []string) string {
	if len(creates) == 0 {
		return "Read only; a transaction, too, holds reads alone."
	}
	return "Records are read; new resources are taken by create, or in a transaction that holds creates alone, and answered 202: " +
		"they are kept durably under the id they are given and are on their way to the EHR."
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
	Interaction   []capCode     `json:"interaction"`
	Security      capSecurity   `json:"security"`
	Resource      []capResource `json:"resource"`
}

type capSecurity struct {
	Description string `json:"description"`
}

type capResource struct {
	Type            string         `json:"type"`
	Interaction     []capCode      `json:"interaction"`
	Versioning      string         `json:"versioning"`
	ReadHistory     bool           `json:"readHistory"`
	ConditionalRead string         `json:"conditionalRead"`
	SearchInclude   []string       `json:"searchInclude,omitempty"`
	SearchParam     []capParam     `json:"searchParam,omitempty"`
	Operation       []capOperation `json:"operation,omitempty"`
}

// takes states what a search of the type takes.
func (r *capResource) takes(typ string) {
	if typ != "Patient" {
		r.SearchParam = append(r.SearchParam, capParam{"patient", KindRef})
	}
	for _, all := range [][]param{params[typ], general[:]} {
		for _, p := range all {
			if p.kind == KindRef {
				r.SearchInclude = append(r.SearchInclude, typ+":"+p.name)
			} else {
				r.SearchParam = append(r.SearchParam, capParam{p.name, p.kind})
			}
		}
	}
}

type capOperation struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
}

type capCode struct {
	Code string `json:"code"`
}

type capParam struct {
	Name string `json:"name"`
	Type string `json:"type"`
}
