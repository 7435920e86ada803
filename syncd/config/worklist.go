package config

import (
	"slices"
	"strings"
	"unicode"
)

// Worklist is kept from the EHR's orders and answered at the DICOM node.
type Worklist struct {
	System string            // of the patient numbers devices use; empty: the record number
	Codes  map[string]string // code of an order → modality, beside those known
}

// worklistFile is [sync.worklist] as written.
type worklistFile struct {
	System string            `toml:"system"`
	Codes  map[string]string `toml:"codes"`
}

// What a destination's patients may be.
const (
	patientsMatched = "matched" // known to the EHR
	patientsAny     = "any"     // anybody's; the destination finds whose by itself
)

func (c *check) worklist(in *file, out *Config) {
	if in.Worklist == nil {
		return
	}
	if out.DICOM == nil {
		c.bad("sync.worklist", "there is no [sync.dicom] where devices could ask for it")
	}
	out.Worklist = &Worklist{System: in.Worklist.System, Codes: in.Worklist.Codes}
	if len(in.Worklist.System) > 256 || strings.ContainsFunc(in.Worklist.System, unicode.IsSpace) {
		c.bad("sync.worklist.system", "got %q, want the URI of an identifier system", in.Worklist.System)
	}
	for code, modality := range in.Worklist.Codes {
		upper := strings.Trim(modality, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
		if code == "" || modality == "" || len(modality) > 16 || !upper {
			c.bad("sync.worklist.codes", "got %q = %q, want a code and a modality such as \"ECG\"", code, modality)
		}
	}
}

// matched tells whether a destination takes only items of known patients. An EHR
// files by patient, so that is its default; an archive has its own way with the
// others.
func (c *check) matched(key, got, kind string) bool {
	if got == "" {
		return kind == KindFHIR
	}
	if !slices.Contains([]string{patientsMatched, patientsAny}, got) {
		c.bad(key, "got %q, want %q or %q", got, patientsMatched, patientsAny)
	}
	return got == patientsMatched
}
