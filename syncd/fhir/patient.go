package fhir

import (
	"encoding/json"
	"fmt"
)

// Bounds of a patient's numbers.
const (
	maxNumbers = 64
	maxNumber  = 256 // bytes
)

// Numbers are what a patient is known by: the values of Patient.identifier, in
// whatever system.
func Numbers(body []byte) ([]string, error) {
	m, err := members(body, "resourceType", "identifier")
	if err != nil {
		return nil, err
	}
	if typ, err := text(m["resourceType"]); err != nil || typ != "Patient" {
		return nil, fmt.Errorf("%w: want a Patient", ErrBody)
	}
	if m["identifier"] == nil {
		return nil, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(m["identifier"], &all); err != nil || len(all) > maxNumbers {
		return nil, fmt.Errorf("%w: identifier is no list of at most %d", ErrBody, maxNumbers)
	}
	var numbers []string
	for _, raw := range all {
		one, err := members(raw, "value")
		if err != nil {
			return nil, err
		}
		if one["value"] == nil {
			continue
		}
		v, err := text(one["value"])
		if err != nil || len(v) > maxNumber {
			return nil, fmt.Errorf("%w: identifier.value is no string of at most %d bytes", ErrBody, maxNumber)
		}
		numbers = append(numbers, v)
	}
	return numbers, nil
}
