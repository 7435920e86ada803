// Package consent keeps what patients say about who sees their record. Its
// guarantee: what Set returned for holds after any stop, until it is taken back.
//
// A patient's word is a FHIR R4 Consent with one provision that names
// professionals: "deny" means all but these, "permit" these and nobody else. What
// says more than that is refused: it would not be held.
package consent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"sync"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
)

// A Rule is what a Consent comes down to.
type Rule struct {
	Only bool     // these and nobody else; otherwise all but these
	Who  []string // "Practitioner/…"
}

// Bounds.
const (
	maxActors   = 50
	maxPatients = 2000
)

var practitioner = regexp.MustCompile(`^Practitioner/[A-Za-z0-9.-]{1,64}$`)

// resource is what of a Consent may be said. What is only described (category,
// dateTime, policy) may be anything; what changes the meaning must be known.
type resource struct {
	ResourceType string          `json:"resourceType"`
	ID           json.RawMessage `json:"id"`
	Meta         json.RawMessage `json:"meta"`
	Text         json.RawMessage `json:"text"`
	Identifier   json.RawMessage `json:"identifier"`
	Status       string          `json:"status"`
	Scope        json.RawMessage `json:"scope"`
	Category     json.RawMessage `json:"category"`
	Patient      json.RawMessage `json:"patient"`
	DateTime     json.RawMessage `json:"dateTime"`
	Organization json.RawMessage `json:"organization"`
	Policy       json.RawMessage `json:"policy"`
	PolicyRule   json.RawMessage `json:"policyRule"`
	Provision    struct {
		Type  string `json:"type"`
		Actor []struct {
			Role      json.RawMessage `json:"role"`
			Reference struct {
				Reference string `json:"reference"`
				Display   string `json:"display"`
			} `json:"reference"`
		} `json:"actor"`
	} `json:"provision"`
}

// Parse reads a Consent.
func Parse(body []byte) (Rule, error) {
	var r resource
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil || dec.More() {
		return Rule{}, errors.New("want a FHIR Consent with a provision of type and actor, and no more conditions than that")
	}
	if r.ResourceType != "Consent" || r.Status != "active" {
		return Rule{}, fmt.Errorf("got a %q that is %q, want an active Consent", r.ResourceType, r.Status)
	}
	rule := Rule{Only: r.Provision.Type == "permit"}
	if !rule.Only && r.Provision.Type != "deny" {
		return Rule{}, fmt.Errorf("provision.type: got %q, want \"permit\" or \"deny\"", r.Provision.Type)
	}
	if n := len(r.Provision.Actor); n == 0 || n > maxActors {
		return Rule{}, fmt.Errorf("provision.actor: got %d, want 1 to %d", n, maxActors)
	}
	for _, a := range r.Provision.Actor {
		ref := a.Reference.Reference
		if !practitioner.MatchString(ref) {
			return Rule{}, errors.New("provision.actor.reference: want Practitioner/NUMBER")
		}
		if !slices.Contains(rule.Who, ref) {
			rule.Who = append(rule.Who, ref)
		}
	}
	return rule, nil
}

// A Book is what all patients said. Safe for concurrent use.
type Book struct {
	path string

	mu   sync.Mutex
	lost bool
	said map[string]json.RawMessage // pseudonym → Consent, as given
}

// ErrFull is returned when no more patients can narrow their record here.
var ErrFull = fmt.Errorf("consents: there is room for %d patients", maxPatients)

// ErrLost is returned while what patients said can't be read.
var ErrLost = errors.New("consents can't be read")

// Open reads the book at path. One that can't be read is returned beside the error,
// as lost: whoever has it must show no more than if anybody might have narrowed
// anything.
func Open(path string) (*Book, error) {
	b := &Book{path: path, lost: true}
	return b, b.Read()
}

// Read reads a lost book once more; one that is not lost is left alone.
func (b *Book) Read() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lost {
		return nil
	}
	said := map[string]json.RawMessage{}
	data, err := os.ReadFile(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case err == nil:
		err = json.Unmarshal(data, &said)
	}
	if err != nil {
		return fmt.Errorf("read consents: %w", err)
	}
	for patient, body := range said {
		if _, err := Parse(body); err != nil {
			return fmt.Errorf("read consents: of %s: %w", patient, err)
		}
	}
	b.lost, b.said = false, said
	if said == nil { // the file says null
		b.said = map[string]json.RawMessage{}
	}
	return nil
}

// Lost says that what patients said can't be read.
func (b *Book) Lost() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// Get returns a patient's Consent, byte for byte but for white space.
func (b *Book) Get(patient string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.said[patient]
	return body, ok
}

// Set takes a patient's Consent, or takes it back if body is nil.
//
//	stop before it returns: the old word or the new one, whole
//	stop after: the new one
func (b *Book) Set(patient string, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost { // it would replace what the others said
		return ErrLost
	}
	old, was := b.said[patient]
	if body == nil {
		delete(b.said, patient)
	} else {
		if _, err := Parse(body); err != nil {
			return err
		}
		if !was && len(b.said) >= maxPatients {
			return ErrFull
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, body); err != nil {
			return err
		}
		b.said[patient] = compact.Bytes()
	}
	data, err := json.Marshal(b.said)
	if err == nil {
		err = durable.WriteFile(b.path, data, 0o600)
	}
	if err != nil {
		delete(b.said, patient)
		if was {
			b.said[patient] = old
		}
		return fmt.Errorf("keep consents: %w", err)
	}
	return nil
}

// Wire is the book as it is published.
func (b *Book) Wire() []wire.Consent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []wire.Consent
	for patient, body := range b.said {
		if r, err := Parse(body); err == nil { // Set and Open let nothing else in
			all = append(all, wire.Consent{Patient: patient, Only: r.Only, Who: r.Who})
		}
	}
	slices.SortFunc(all, func(x, y wire.Consent) int { return bytes.Compare([]byte(x.Patient), []byte(y.Patient)) })
	return all
}
