package fhir

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Capability is the CapabilityStatement of the gateway: what it does, and no
// more. date is the start of the program; self its base URL. writes says that doctors
// change records here. creates are the types that may also be handed in new by devices,
// into the queue of uploads.
func Capability(self, software string, date time.Time, writes bool, creates ...string) []byte {
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
		switch {
		case writes && IsWritable(t):
			r.Interaction = append(r.Interaction, capCode{"create"}, capCode{"update"}, capCode{"patch"})
			if t != "Patient" {
				r.Interaction = append(r.Interaction, capCode{"delete"})
			}
			r.Versioning, r.ConditionalCreate = "versioned-update", true
		case slices.Contains(creates, t):
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
	var patches []string
	if writes {
		patches = []string{"application/json-patch+json"}
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
		PatchFormat: patches,
		Rest: []capRest{{
			Mode: "server",
			Documentation: writing(writes, creates) + " If-None-Match and If-Modified-Since answer 304. A search names one patient, or finds " +
				"patients, by GET or by POST to _search; it answers all matches, or pages of _count in the order of _sort. Unknown " +
				"parameters are refused, or left out and named with Prefer: handling=lenient.",
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
func writing(writes bool, creates []string) string {
	text := "Read only; a transaction, too, holds reads alone."
	if writes {
		text = "Doctors read, and with care for the patient change records: an update says by If-Match or meta.versionId which version " +
			"it changes, a patch is a JSON Patch, a delete hides and destroys nothing, a transaction is about one patient. " +
			"What is not at the EHR yet is answered 202, kept durably, shown here with a tag of urn:clinicgate:pending, and delivered " +
			"in order; the id it gets here stays readable. If-None-Exist takes identifier=SYSTEM|VALUE."
	}
	if len(creates) > 0 {
		text += " New resources of " + strings.Join(creates, ", ") + ", and transactions of creates alone, are answered 202: they are " +
			"kept durably under the id they are given and are on their way to the EHR."
	}
	return text
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
	PatchFormat    []string          `json:"patchFormat,omitempty"`
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
	Type            string    `json:"type"`
	Interaction     []capCode `json:"interaction"`
	Versioning      string    `json:"versioning"`
	ReadHistory     bool      `json:"readHistory"`
	ConditionalRead string    `json:"conditionalRead"`

	ConditionalCreate bool           `json:"conditionalCreate"`
	SearchInclude     []string       `json:"searchInclude,omitempty"`
	SearchParam       []capParam     `json:"searchParam,omitempty"`
	Operation         []capOperation `json:"operation,omitempty"`
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
