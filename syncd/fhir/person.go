package fhir

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Patient is what identifies a patient, out of the resource.
type Patient struct {
	Ref
	Numbers []Identifier
	Names   []HumanName
	Birth   string // a FHIR date, perhaps of a year or a month only
	Gender  string // male, female, other, unknown
}

// Identifier is one of FHIR's, as far as it is used here.
type Identifier struct {
	System string          `json:"system"`
	Value  string          `json:"value"`
	Type   CodeableConcept `json:"type"`
}

// HumanName is a name in its parts.
type HumanName struct {
	Use    string   `json:"use"`
	Text   string   `json:"text"`
	Family string   `json:"family"`
	Given  []string `json:"given"`
}

// CodeableConcept is a concept by code and in words.
type CodeableConcept struct {
	Coding []Coding `json:"coding"`
	Text   string   `json:"text"`
}

// Coding is one code.
type Coding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display"`
}

// maxNames bounds a patient's names.
const maxNames = 64

// DecodePatient reads a Patient. It is as strict as Decode about names that a
// lenient reader could see twice.
func DecodePatient(body []byte) (Patient, error) {
	env, err := Decode(body, "")
	if err != nil {
		return Patient{}, err
	}
	if env.Type != "Patient" || env.ID == "" {
		return Patient{}, fmt.Errorf("%w: want a Patient with an id", ErrBody)
	}
	m, err := members(body, "identifier", "name", "birthDate", "gender")
	if err != nil {
		return Patient{}, err
	}
	p := Patient{Ref: env.Ref}
	for name, into := range map[string]any{"identifier": &p.Numbers, "name": &p.Names, "birthDate": &p.Birth, "gender": &p.Gender} {
		if raw := m[name]; raw != nil && json.Unmarshal(raw, into) != nil {
			return Patient{}, fmt.Errorf("%w: Patient.%s is not what it should be", ErrBody, name)
		}
	}
	if len(p.Numbers) > maxNumbers || len(p.Names) > maxNames {
		return Patient{}, fmt.Errorf("%w: a Patient of %d numbers and %d names", ErrBody, len(p.Numbers), len(p.Names))
	}
	return p, nil
}

// Called is the name to call the patient by: the official one, else the first.
func (p Patient) Called() HumanName {
	for _, use := range []string{"official", "usual"} {
		if i := slices.IndexFunc(p.Names, func(n HumanName) bool { return n.Use == use }); i >= 0 {
			return p.Names[i]
		}
	}
	if len(p.Names) > 0 {
		return p.Names[0]
	}
	return HumanName{}
}

// Number is what a device shall know the patient by: the number of that system if
// one is wanted, else the medical record number (v2-0203 MR), else the first.
func (p Patient) Number(system string) string {
	pick := func(good func(Identifier) bool) string {
		i := slices.IndexFunc(p.Numbers, func(n Identifier) bool { return n.Value != "" && good(n) })
		if i < 0 {
			return ""
		}
		return p.Numbers[i].Value
	}
	if system != "" {
		return pick(func(n Identifier) bool { return n.System == system })
	}
	if mr := pick(func(n Identifier) bool { return n.Type.Has("MR") }); mr != "" {
		return mr
	}
	return pick(func(Identifier) bool { return true })
}

// Has tells whether a concept has a code, of whatever system.
func (c CodeableConcept) Has(code string) bool {
	return slices.ContainsFunc(c.Coding, func(k Coding) bool { return k.Code == code })
}
