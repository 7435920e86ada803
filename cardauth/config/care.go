package config

import (
	"crypto/x509"
	"path/filepath"
	"time"

	"clinicgate/firmware/site"
)

// Patients are the authorities and the policy of patients' cards, apart from the
// professionals': a certificate of one kind is worth nothing as the other.
type Patients struct {
	Anchors []string // file names in the site's anchors folder
	Policy  x509.OID
}

// Care is how long a doctor may go on caring for a patient.
type Care struct {
	Window    time.Duration // after the patient's card left
	Emergency time.Duration // after the doctor declared one
	Resume    time.Duration // between two sessions of the doctor
	PerDay    int           // emergencies of one doctor in 24 hours
	Reads     bool          // reading wants care too
}

type patientsSection struct {
	Anchors []string `toml:"anchors"`
	Policy  string   `toml:"policy"`
}

type careSection struct {
	Window    string `toml:"window"`
	Emergency string `toml:"emergency"`
	Resume    string `toml:"resume"`
	PerDay    *int   `toml:"emergencies_per_day"`
	Reads     string `toml:"reads"`
}

func isFileName(name string) bool {
	return name != "" && name == filepath.Base(name) && name[0] != '.'
}

// patients returns nil without the section.
func patients(f *site.File, s section) (*Patients, error) {
	if s.Patients == nil {
		return nil, nil
	}
	p := &Patients{Anchors: s.Patients.Anchors}
	if len(p.Anchors) == 0 {
		return nil, f.Errorf("card.patients.anchors", "got none, want the file of at least one CA of patients' cards")
	}
	for _, name := range p.Anchors {
		if !isFileName(name) {
			return nil, f.Errorf("card.patients.anchors", "got %q, want a file name in the site's anchors folder", name)
		}
	}
	var err error
	if p.Policy, err = x509.ParseOID(s.Patients.Policy); err != nil {
		return nil, f.Errorf("card.patients.policy", "got %q, want an object identifier", s.Patients.Policy)
	}
	if s.Patients.Policy == s.Policy {
		return nil, f.Errorf("card.patients.policy", "got the professionals' policy, want another: a patient's card would be a doctor's")
	}
	return p, nil
}

// Bounds of care, the longest a site may choose.
const (
	maxWindow    = 24 * time.Hour
	maxEmergency = 4 * time.Hour
	maxResume    = time.Hour
	maxPerDay    = 100
)

// care reads the rules, with defaults for what is not said.
func care(f *site.File, s section) (Care, error) {
	r := Care{Window: 4 * time.Hour, Emergency: 30 * time.Minute, Resume: 15 * time.Minute, PerDay: 10}
	for _, d := range []struct {
		key, text string
		into      *time.Duration
		most      time.Duration
	}{
		{"card.care.window", s.Care.Window, &r.Window, maxWindow},
		{"card.care.emergency", s.Care.Emergency, &r.Emergency, maxEmergency},
		{"card.care.resume", s.Care.Resume, &r.Resume, maxResume},
	} {
		if d.text == "" {
			continue
		}
		v, err := time.ParseDuration(d.text)
		if err != nil || v < 0 || v > d.most {
			return r, f.Errorf(d.key, "got %q, want a duration from 0s to %v", d.text, d.most)
		}
		*d.into = v
	}
	if n := s.Care.PerDay; n != nil {
		if *n < 0 || *n > maxPerDay {
			return r, f.Errorf("card.care.emergencies_per_day", "got %d, want 0 to %d", *n, maxPerDay)
		}
		r.PerDay = *n
	}
	if s.Care.Reads != "" && s.Care.Reads != "session" && s.Care.Reads != "care" {
		return r, f.Errorf("card.care.reads", "got %q, want \"session\" or \"care\"", s.Care.Reads)
	}
	r.Reads = s.Care.Reads == "care"
	return r, nil
}
