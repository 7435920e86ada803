package bom

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"clinicgate/image/deb"
)

// Vulnerability is known of a part.
type Vulnerability struct {
	ID      string `json:"id"`
	Part    string `json:"part"` // package URL
	Fixed   string `json:"fixed,omitempty"`
	Urgency string `json:"urgency,omitempty"` // as the source has it
	What    string `json:"what,omitempty"`
	Called  bool   `json:"called,omitempty"` // a Go program calls what is vulnerable
}

// maxInput bounds what is read of either source; Debian's is 60 MB.
const maxInput = 512 << 20

// Debian finds the image's packages in Debian's security tracker, in the format of
// https://security-tracker.debian.org/tracker/data/json: source package, name of
// the vulnerability, release. What Debian holds for unimportant is left out.
func (i Image) Debian(r io.Reader, release string) ([]Vulnerability, error) {
	var tracker map[string]map[string]struct {
		Description string `json:"description"`
		Releases    map[string]struct {
			Status  string `json:"status"`
			Fixed   string `json:"fixed_version"`
			Urgency string `json:"urgency"`
		} `json:"releases"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxInput)).Decode(&tracker); err != nil {
		return nil, fmt.Errorf("debian security data: %w", err)
	}
	var all []Vulnerability
	known := false
	for _, p := range i.Parts {
		if p.Source == "" {
			continue
		}
		for id, v := range tracker[p.Source] {
			at, ok := v.Releases[release]
			known = known || ok
			if !ok || at.Urgency == "unimportant" || at.Status == "resolved" && (at.Fixed == "" || at.Fixed == "0" || deb.Compare(p.Version, at.Fixed) >= 0) {
				continue
			}
			all = append(all, Vulnerability{ID: id, Part: p.PURL, Fixed: at.Fixed, Urgency: at.Urgency, What: v.Description})
		}
	}
	if !known { // an empty file would read as good news
		return nil, fmt.Errorf("debian security data: nothing in it is about our packages in %s", release)
	}
	return sortVulnerabilities(all), nil
}

// Go finds the image's modules in what `govulncheck -format json` has written.
func (i Image) Go(r io.Reader) ([]Vulnerability, error) {
	urls := map[string]bool{}
	for _, p := range i.Parts {
		urls[p.PURL] = true
	}
	type message struct {
		Config *struct {
			Scanner string `json:"scanner_name"`
		} `json:"config"`
		OSV *struct {
			ID      string `json:"id"`
			Summary string `json:"summary"`
		} `json:"osv"`
		Finding *struct {
			OSV   string `json:"osv"`
			Fixed string `json:"fixed_version"`
			Trace []struct {
				Module   string `json:"module"`
				Version  string `json:"version"`
				Function string `json:"function"`
			} `json:"trace"`
		} `json:"finding"`
	}
	found, what, scanned := map[[2]string]Vulnerability{}, map[string]string{}, false
	for dec := json.NewDecoder(io.LimitReader(r, maxInput)); ; {
		var m message
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("govulncheck's output: %w", err)
		}
		scanned = scanned || m.Config != nil
		if m.OSV != nil {
			what[m.OSV.ID] = m.OSV.Summary
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		at := m.Finding.Trace[0]
		name := at.Module
		if name == "stdlib" {
			name = "std"
		}
		url := ModuleURL(name, at.Version)
		if !urls[url] {
			continue // of a tool, or of a test
		}
		v := Vulnerability{ID: m.Finding.OSV, Part: url, Fixed: m.Finding.Fixed, Called: at.Function != ""}
		v.Called = v.Called || found[[2]string{v.ID, url}].Called
		found[[2]string{v.ID, url}] = v
	}
	if !scanned {
		return nil, errors.New("govulncheck's output: got no configuration in it: was -format json given?")
	}
	var all []Vulnerability
	for _, v := range found {
		v.What = what[v.ID]
		all = append(all, v)
	}
	return sortVulnerabilities(all), nil
}

func sortVulnerabilities(all []Vulnerability) []Vulnerability {
	slices.SortFunc(all, func(a, b Vulnerability) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Part, b.Part))
	})
	return all
}

// WriteVulnerabilities writes them as a CycloneDX document about the image.
func (i Image) WriteVulnerabilities(w io.Writer, all []Vulnerability) error {
	doc := cdx.NewBOM()
	doc.Metadata = &cdx.Metadata{Component: &cdx.Component{BOMRef: i.Name + "@" + i.Version, Type: cdx.ComponentTypeFirmware, Name: i.Name, Version: i.Version}}
	list := []cdx.Vulnerability{}
	for _, v := range all {
		entry := cdx.Vulnerability{ID: v.ID, Description: v.What, Affects: &[]cdx.Affects{{Ref: v.Part}}}
		if v.Fixed != "" {
			entry.Recommendation = "take " + v.Fixed + " or later"
		}
		if v.Urgency != "" {
			entry.Properties = &[]cdx.Property{{Name: "clinicgate:debian-urgency", Value: v.Urgency}}
		}
		if strings.HasPrefix(v.Part, "pkg:golang/") && !v.Called {
			entry.Analysis = &cdx.VulnerabilityAnalysis{Justification: cdx.IAJCodeNotReachable, Detail: "govulncheck finds no call of it"}
		}
		list = append(list, entry)
	}
	doc.Vulnerabilities = &list
	return encode(w, doc)
}
