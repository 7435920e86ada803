package fhir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrBody is a body that is not the resource it should be.
var ErrBody = errors.New("not a well-formed FHIR resource")

// Envelope is what syncd reads of a resource; the rest stays bytes.
type Envelope struct {
	Ref
	Version string    // meta.versionId
	Updated time.Time // meta.lastUpdated, zero when absent
	Patient Ref       // whose it is: itself, its subject, patient, for, beneficiary or participant; zero when none is a patient
}

// Decode reads the envelope of one resource. base is the server's URL, for
// absolute references. It is strict where a lenient reader and a client could
// see different patients: a repeated name, or one that differs from a wanted
// name by case only, is refused.
func Decode(body []byte, base string) (Envelope, error) {
	m, err := members(body, "resourceType", "id", "meta", "subject", "patient", "for", "beneficiary", "participant")
	if err != nil {
		return Envelope{}, err
	}
	var e Envelope
	if e.Type, err = text(m["resourceType"]); err != nil || !IsType(e.Type) {
		return Envelope{}, fmt.Errorf("%w: resourceType is missing or unknown", ErrBody)
	}
	if raw, ok := m["id"]; ok {
		if e.ID, err = text(raw); err != nil || !isID(e.ID) {
			return Envelope{}, fmt.Errorf("%w: id is not a FHIR id", ErrBody)
		}
	}
	if err := e.meta(m["meta"]); err != nil {
		return Envelope{}, err
	}
	if e.Type == "Patient" {
		e.Patient = e.Ref
		return e, nil
	}
	named := []json.RawMessage{m["subject"], m["patient"], m["for"], m["beneficiary"]}
	if e.Type == "Appointment" {
		actors, err := actors(m["participant"])
		if err != nil {
			return Envelope{}, err
		}
		named = actors
	}
	e.Patient, err = owner(named, base)
	return e, err
}

// actors are who takes part in an appointment.
func actors(participants json.RawMessage) (all []json.RawMessage, err error) {
	each, err := list(participants, "participant")
	for _, p := range each {
		m, err := members(p, "actor")
		if err != nil {
			return nil, err
		}
		all = append(all, m["actor"])
	}
	return all, err
}

func (e *Envelope) meta(raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	m, err := members(raw, "versionId", "lastUpdated")
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	if v, ok := m["versionId"]; ok {
		if e.Version, err = text(v); err != nil || !isID(e.Version) {
			return fmt.Errorf("%w: meta.versionId is not a FHIR id", ErrBody)
		}
	}
	if v, ok := m["lastUpdated"]; ok {
		s, _ := text(v)
		if e.Updated, err = time.Parse(time.RFC3339, s); err != nil {
			return fmt.Errorf("%w: meta.lastUpdated is not an instant", ErrBody)
		}
	}
	return nil
}

// owner returns the patient named by an element such as subject or patient. When
// several name one it must be the same one.
func owner(named []json.RawMessage, base string) (Ref, error) {
	var found Ref
	for _, raw := range named {
		if raw == nil || raw[0] != '{' {
			continue // absent, or a list as in Group-like types: no owner
		}
		m, err := members(raw, "reference")
		if err != nil {
			return Ref{}, err
		}
		if m["reference"] == nil {
			continue
		}
		s, err := text(m["reference"])
		if err != nil {
			return Ref{}, err
		}
		ref, err := resolveRef(s, base)
		if err != nil || ref.Type != "Patient" {
			continue // a group, a device, another server: not a patient of ours
		}
		if found != (Ref{}) && found != ref {
			return Ref{}, fmt.Errorf("%w: it names two patients", ErrBody)
		}
		found = ref
	}
	return found, nil
}

// members returns the wanted members of the JSON object in raw, which must hold
// nothing else.
func members(raw []byte, want ...string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%w: want a JSON object", ErrBody)
	}
	found := make(map[string]json.RawMessage, len(want))
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, broken(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, broken(err)
		}
		for _, w := range want {
			if !strings.EqualFold(name, w) {
				continue
			}
			if _, twice := found[w]; twice || name != w {
				return nil, fmt.Errorf("%w: %q is there twice or misspelt", ErrBody, w)
			}
			found[w] = value
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, broken(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more after the end", ErrBody)
	}
	return found, nil
}

// broken keeps the place of a syntax error and drops the text around it, which
// may be a patient's.
func broken(err error) error {
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &syn):
		return fmt.Errorf("%w: JSON breaks at byte %d", ErrBody, syn.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: JSON ends early", ErrBody)
	}
	return fmt.Errorf("%w: JSON is not well formed", ErrBody)
}

func text(raw json.RawMessage) (string, error) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%w: want a string", ErrBody)
	}
	return s, nil
}
