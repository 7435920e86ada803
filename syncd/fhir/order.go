package fhir

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Order is what a ServiceRequest or an Appointment says of something to be done.
type Order struct {
	Ref
	Patient Ref
	BasedOn []Ref // of an Appointment: the orders it is for
	Numbers []Identifier
	Codes   []CodeableConcept // what is to be done, most telling first
	When    string            // as written: date or dateTime
	By      string            // who ordered, as displayed
}

// wireOrder is both resources as JSON has them.
type wireOrder struct {
	Identifier []Identifier      `json:"identifier"`
	Code       CodeableConcept   `json:"code"`
	Detail     []CodeableConcept `json:"orderDetail"`
	Category   []CodeableConcept `json:"category"`
	Service    []CodeableConcept `json:"serviceType"`
	Reason     []CodeableConcept `json:"reasonCode"`
	Occurs     string            `json:"occurrenceDateTime"`
	Period     struct {
		Start string `json:"start"`
	} `json:"occurrencePeriod"`
	Start       string `json:"start"`
	Description string `json:"description"`
	Requester   struct {
		Display string `json:"display"`
	} `json:"requester"`
	BasedOn []struct {
		Reference string `json:"reference"`
	} `json:"basedOn"`
	Participant []struct {
		Actor struct {
			Reference string `json:"reference"`
		} `json:"actor"`
	} `json:"participant"`
}

// DecodeOrder reads a ServiceRequest or an Appointment of one patient. base is the
// server's URL, for absolute references.
func DecodeOrder(body []byte, base string) (Order, error) {
	env, err := Decode(body, base)
	if err != nil {
		return Order{}, err
	}
	var w wireOrder
	if env.Type != "ServiceRequest" && env.Type != "Appointment" {
		return Order{}, fmt.Errorf("%w: got a %s, want an order", ErrBody, env.Type)
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return Order{}, fmt.Errorf("%w: a %s is not what it should be", ErrBody, env.Type)
	}
	o := Order{Ref: env.Ref, Patient: env.Patient, Numbers: w.Identifier, By: w.Requester.Display}
	o.Codes = slices.Concat(w.Detail, []CodeableConcept{w.Code}, w.Service, w.Category, w.Reason)
	if w.Description != "" {
		o.Codes = append(o.Codes, CodeableConcept{Text: w.Description})
	}
	for _, when := range []string{w.Occurs, w.Period.Start, w.Start} {
		if o.When == "" {
			o.When = when
		}
	}
	for _, b := range w.BasedOn {
		if ref, err := resolveRef(b.Reference, base); err == nil {
			o.BasedOn = append(o.BasedOn, ref)
		}
	}
	for _, p := range w.Participant {
		ref, err := resolveRef(p.Actor.Reference, base)
		if err != nil || ref.Type != "Patient" {
			continue
		}
		if o.Patient != (Ref{}) && o.Patient != ref {
			return Order{}, fmt.Errorf("%w: an appointment of two patients", ErrBody)
		}
		o.Patient = ref
	}
	return o, nil
}

// Words says what is to be done, for people.
func (o Order) Words() string {
	for _, c := range o.Codes {
		if c.Text != "" {
			return c.Text
		}
		for _, k := range c.Coding {
			if k.Display != "" {
				return k.Display
			}
		}
	}
	return ""
}

// Day and Time are When as written, YYYYMMDD and HHMM: an EHR writes the clinic's
// own time, with its offset behind.
func (o Order) Day() string {
	day, _, _ := strings.Cut(o.When, "T")
	if day = strings.ReplaceAll(day, "-", ""); len(day) == 8 && strings.Trim(day, "0123456789") == "" {
		return day
	}
	return ""
}

// Time is the time of day, HHMM, or empty.
func (o Order) Time() string {
	_, t, _ := strings.Cut(o.When, "T")
	if len(t) >= 5 && t[2] == ':' && strings.Trim(t[:2]+t[3:5], "0123456789") == "" {
		return t[:2] + t[3:5]
	}
	return ""
}
