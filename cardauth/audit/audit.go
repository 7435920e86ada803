// Package audit says what happened at the card readers as FHIR R4 AuditEvents.
// Its guarantee: an event names who, where, when and how it ended, and never a
// PIN or a key.
package audit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// Kind is what happened.
type Kind string

// The kinds.
const (
	Login     Kind = "login"
	Refused   Kind = "refused"  // a login that was not
	Ended     Kind = "ended"    // a session: card out, logged out, ...
	Present   Kind = "present"  // a patient's card, without a PIN
	Cares     Kind = "care"     // began
	CareEnded Kind = "care-end" // ended
	Breaks    Kind = "break-glass"
	Consent   Kind = "consent"
	Trust     Kind = "trust" // a list of revoked cards, the clock
)

// An Event is one thing that happened.
type Event struct {
	Kind    Kind
	At      time.Time
	Session string
	Who     string // "Practitioner/…"; a patient's session: empty
	Role    string
	Patient string // number on the patient's card, or as the doctor gave it
	Room    string
	Reader  string
	Device  string // common name of the workstation's certificate
	Why     string // how it ended, or the reason a doctor gave
	Failed  bool

	// Of an emergency: what the doctor's card signed, and with which key.
	Statement   []byte
	Signed      []byte // what the key signed; the statement's SHA-256 is in it
	Signature   []byte
	Certificate []byte // DER
}

// code is a Coding (datatypes.html#Coding).
type code struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code"`
	Display string `json:"display,omitempty"`
}

type concept struct {
	Coding []code `json:"coding,omitempty"`
	Text   string `json:"text,omitempty"`
}

type identifier struct {
	System string `json:"system,omitempty"`
	Value  string `json:"value"`
}

type reference struct {
	Reference  string      `json:"reference,omitempty"`
	Identifier *identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitempty"`
}

type agent struct {
	Role      []concept  `json:"role,omitempty"`
	Who       *reference `json:"who,omitempty"`
	Name      string     `json:"name,omitempty"`
	Requestor bool       `json:"requestor"`
	Location  *reference `json:"location,omitempty"`
}

type detail struct {
	Type  string `json:"type"`
	Value string `json:"valueString,omitempty"`
	Bytes string `json:"valueBase64Binary,omitempty"`
}

type entity struct {
	What   *reference `json:"what,omitempty"`
	Type   code       `json:"type"`
	Role   *code      `json:"role,omitempty"`
	Detail []detail   `json:"detail,omitempty"`
}

// event is AuditEvent, as far as it is filled in.
type event struct {
	ResourceType string    `json:"resourceType"`
	Type         code      `json:"type"`
	Subtype      []code    `json:"subtype,omitempty"`
	Action       string    `json:"action"`
	Recorded     string    `json:"recorded"`
	Outcome      string    `json:"outcome"`
	OutcomeDesc  string    `json:"outcomeDesc,omitempty"`
	Purpose      []concept `json:"purposeOfEvent,omitempty"`
	Agent        []agent   `json:"agent"`
	Source       source    `json:"source"`
	Entity       []entity  `json:"entity,omitempty"`
}

type source struct {
	Site     string    `json:"site,omitempty"`
	Observer reference `json:"observer"`
	Type     []code    `json:"type,omitempty"`
}

const (
	dicom     = "http://dicom.nema.org/resources/ontology/DCM"
	actReason = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	ours      = "urn:clinicgate:audit"
)

// types are the event types (DICOM PS3.16 CID 400 and 401) of each kind.
var types = map[Kind][2]code{
	Login:     {{dicom, "110114", "User Authentication"}, {dicom, "110122", "Login"}},
	Refused:   {{dicom, "110114", "User Authentication"}, {dicom, "110122", "Login"}},
	Ended:     {{dicom, "110114", "User Authentication"}, {dicom, "110123", "Logout"}},
	Present:   {{dicom, "110114", "User Authentication"}, {ours, "present", "Patient's card present"}},
	Cares:     {{dicom, "110113", "Security Alert"}, {ours, "care", "Care began"}},
	CareEnded: {{dicom, "110113", "Security Alert"}, {ours, "care-end", "Care ended"}},
	Breaks:    {{dicom, "110113", "Security Alert"}, {dicom, "110127", "Emergency Override Started"}},
	Consent:   {{dicom, "110113", "Security Alert"}, {dicom, "110129", "Security Configuration"}},
	Trust:     {{dicom, "110113", "Security Alert"}, {dicom, "110129", "Security Configuration"}},
}

// FHIR is the event as a resource, of the clinic with that code.
func (e Event) FHIR(site string) ([]byte, error) {
	kinds, known := types[e.Kind]
	if !known {
		return nil, fmt.Errorf("audit event: got kind %q, want one of ours", e.Kind)
	}
	out := event{
		ResourceType: "AuditEvent", Type: kinds[0], Subtype: []code{kinds[1]}, Action: "E",
		Recorded: e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"), Outcome: "0", OutcomeDesc: e.Why,
		Agent:  e.agents(),
		Source: source{Site: site, Observer: reference{Display: "clinicgate cardauth"}, Type: []code{{"http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server"}}},
		Entity: e.entities(),
	}
	if e.Failed {
		out.Outcome = "4" // minor failure
	}
	if e.Kind == Breaks {
		out.Purpose = []concept{{Coding: []code{{actReason, "BTG", "break the glass"}}}}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("audit event: %w", err)
	}
	return text, nil
}

// agents are who did it and at which device; there is always one.
func (e Event) agents() []agent {
	who := agent{Requestor: true}
	switch {
	case e.Who != "":
		who.Who = &reference{Reference: e.Who}
	case e.Patient != "":
		who.Who = patient(e.Patient)
	default:
		who.Name = "unknown"
	}
	if e.Role != "" {
		who.Role = []concept{{Text: e.Role}}
	}
	if e.Room != "" {
		who.Location = &reference{Display: e.Room}
	}
	all := []agent{who}
	if e.Device != "" {
		all = append(all, agent{Name: e.Device, Role: []concept{{Coding: []code{{dicom, "110150", "Application"}}}}})
	}
	return all
}

func patient(number string) *reference {
	return &reference{Identifier: &identifier{Value: number}}
}

// entities are what it was about.
func (e Event) entities() []entity {
	const types, roles = "http://terminology.hl7.org/CodeSystem/audit-entity-type", "http://terminology.hl7.org/CodeSystem/object-role"
	var all []entity
	if e.Patient != "" {
		all = append(all, entity{What: patient(e.Patient), Type: code{types, "1", "Person"}, Role: &code{roles, "1", "Patient"}})
	}
	var more []detail
	for _, d := range []detail{{Type: "session", Value: e.Session}, {Type: "reader", Value: e.Reader}} {
		if d.Value != "" {
			more = append(more, d)
		}
	}
	for _, d := range []struct {
		name string
		raw  []byte
	}{{"statement", e.Statement}, {"signed", e.Signed}, {"signature", e.Signature}, {"certificate", e.Certificate}} {
		if len(d.raw) > 0 {
			more = append(more, detail{Type: d.name, Bytes: base64.StdEncoding.EncodeToString(d.raw)})
		}
	}
	if len(more) > 0 {
		all = append(all, entity{Type: code{types, "2", "System Object"}, Detail: more})
	}
	return all
}
