package trail

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// AuditEvent is an entry as a FHIR R4 resource. What was taken over from another
// program is one already.
func (e Entry) AuditEvent() json.RawMessage {
	if len(e.Event) > 0 {
		return e.Event
	}
	out := auditEvent{
		ResourceType: "AuditEvent", Type: coding{"http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation"},
		Action: "E", Recorded: e.When.UTC().Format(time.RFC3339Nano), Outcome: "0", OutcomeDesc: e.Outcome,
		Agent:  []agent{{Requestor: true}},
		Source: source{display{"clinicgate syncd"}},
	}
	if kind := map[string]string{"read": "read", "search": "search-type", "create": "create", "update": "update", "patch": "patch", "delete": "delete"}[e.Action]; kind != "" {
		out.Subtype = []coding{{"http://hl7.org/fhir/restful-interaction", kind, ""}}
	}
	if e.Who != "" {
		out.Agent[0].Who = &reference{e.Who}
	}
	switch e.Action {
	case "read":
		out.Action = "R"
	case "create":
		out.Action = "C"
	case "update", "patch":
		out.Action = "U"
	case "delete":
		out.Action = "D"
	}
	if strings.HasPrefix(e.Outcome, "refused") || strings.HasPrefix(e.Outcome, "failed") {
		out.Outcome = "4" // minor failure
	}
	if e.Role != "" {
		out.Agent[0].Role = []concept{{Text: e.Role}}
	}
	if e.Room != "" {
		out.Agent[0].Location = &display{e.Room}
	}
	if e.Purpose != "" {
		out.Purpose = []concept{{Coding: []coding{{"http://terminology.hl7.org/CodeSystem/v3-ActReason", e.Purpose, ""}}}}
	}
	const types, roles = "http://terminology.hl7.org/CodeSystem/audit-entity-type", "http://terminology.hl7.org/CodeSystem/object-role"
	if e.Patient != "" {
		out.Entity = append(out.Entity, entity{What: &reference{e.Patient}, Type: coding{types, "1", "Person"}, Role: coding{roles, "1", "Patient"}})
	}
	if e.What != e.Patient {
		x := entity{Type: coding{types, "2", "System Object"}, Role: coding{roles, "24", "Query"}, Query: base64.StdEncoding.EncodeToString([]byte(e.What))}
		if e.Action != "search" && strings.Contains(e.What, "/") {
			x.What, x.Query, x.Role = &reference{e.What}, "", coding{roles, "3", "Report"}
		}
		out.Entity = append(out.Entity, x)
	}
	text, _ := json.Marshal(out) // of strings: it can't fail
	return text
}

// Patients are the numbers and ids of the patients an entry is about. A FHIR
// reference gives the id in it.
func (e Entry) Patients() []string {
	var all []string
	if id := strings.TrimPrefix(e.Patient, "Patient/"); id != "" {
		all = append(all, id)
	}
	if len(e.Event) == 0 {
		return all
	}
	var got struct {
		Entity []struct {
			Type struct{ Code string }
			What struct {
				Reference  string
				Identifier struct{ Value string }
			}
		}
	}
	if json.Unmarshal(e.Event, &got) != nil {
		return all
	}
	for _, x := range got.Entity {
		number := cmp.Or(x.What.Identifier.Value, strings.TrimPrefix(x.What.Reference, "Patient/"))
		if x.Type.Code == "1" && number != "" {
			all = append(all, number)
		}
	}
	return all
}

type coding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display,omitempty"`
}

type concept struct {
	Coding []coding `json:"coding,omitempty"`
	Text   string   `json:"text,omitempty"`
}

type reference struct {
	Reference string `json:"reference"`
}

type display struct {
	Display string `json:"display"`
}

type agent struct {
	Role      []concept  `json:"role,omitempty"`
	Who       *reference `json:"who,omitempty"`
	Requestor bool       `json:"requestor"`
	Location  *display   `json:"location,omitempty"`
}

type source struct {
	Observer display `json:"observer"`
}

type entity struct {
	What  *reference `json:"what,omitempty"`
	Type  coding     `json:"type"`
	Role  coding     `json:"role"`
	Query string     `json:"query,omitempty"`
}

// auditEvent is AuditEvent, as far as it is filled in.
type auditEvent struct {
	ResourceType string    `json:"resourceType"`
	Type         coding    `json:"type"`
	Subtype      []coding  `json:"subtype,omitempty"`
	Action       string    `json:"action"`
	Recorded     string    `json:"recorded"`
	Outcome      string    `json:"outcome"`
	OutcomeDesc  string    `json:"outcomeDesc,omitempty"`
	Purpose      []concept `json:"purposeOfEvent,omitempty"`
	Agent        []agent   `json:"agent"`
	Source       source    `json:"source"`
	Entity       []entity  `json:"entity,omitempty"`
}
