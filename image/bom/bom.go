// Package bom says what an image is made of and how: a bill of materials
// (CycloneDX 1.6), where each part came from (in-toto statement with SLSA
// provenance 1.0), its licences, and which of its parts are known to be vulnerable.
// The same image gives the same bytes: no document names a time or a machine.
package bom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Part is one thing in an image that somebody else made.
type Part struct {
	Name, Version string
	PURL          string   // its package URL
	SHA256        string   // of the package file, hexadecimal; empty: see Sum
	Sum           string   // a Go module's, as go.sum has it
	Source        string   // name of the Debian source package
	Licences      []string // SPDX names where they are known
	In            []string // which of our programs hold it; none: files of the image
}

// Image is what all documents are about.
type Image struct {
	Name, Version string
	Parts         []Part
}

// Properties of components.
const (
	sourceProperty = "clinicgate:debian-source"
	sumProperty    = "clinicgate:go-sum"
	inProperty     = "clinicgate:in"
)

// DebianURL is the package URL of a Debian package.
func DebianURL(name, version, arch string) string {
	return "pkg:deb/debian/" + name + "@" + escape(version) + "?arch=" + arch + "&distro=debian-12"
}

// ModuleURL is the package URL of a Go module.
func ModuleURL(path, version string) string { return "pkg:golang/" + path + "@" + escape(version) }

func escape(version string) string {
	return strings.NewReplacer("%", "%25", "+", "%2B", ":", "%3A", "?", "%3F", "#", "%23", "@", "%40").Replace(version)
}

// Write writes the bill of materials.
func (i Image) Write(w io.Writer) error {
	doc := cdx.NewBOM()
	main := cdx.Component{BOMRef: i.Name + "@" + i.Version, Type: cdx.ComponentTypeFirmware, Name: i.Name, Version: i.Version}
	doc.Metadata = &cdx.Metadata{Component: &main}
	var all []cdx.Component
	var refs []string
	for _, p := range i.sorted() {
		all = append(all, p.component())
		refs = append(refs, p.PURL)
	}
	doc.Components = &all
	doc.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	// A serial number is the document's own: it follows from the content (RFC 9562,
	// version 8).
	var text bytes.Buffer
	if err := encode(&text, doc); err != nil {
		return err
	}
	h := sha256.Sum256(text.Bytes())
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	doc.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
	return encode(w, doc)
}

func encode(w io.Writer, doc *cdx.BOM) error {
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(doc, cdx.SpecVersion1_6)
}

func (i Image) sorted() []Part {
	parts := slices.Clone(i.Parts)
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.PURL, b.PURL) })
	return parts
}

func (p Part) component() cdx.Component {
	c := cdx.Component{BOMRef: p.PURL, Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: p.PURL}
	if p.SHA256 != "" {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: p.SHA256}}
	}
	var licences cdx.Licenses
	for _, l := range p.Licences {
		if slices.Contains(spdx, l) {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: l}})
		} else {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{Name: l}})
		}
	}
	if len(licences) > 0 {
		c.Licenses = &licences
	}
	var properties []cdx.Property
	for _, q := range []cdx.Property{{Name: sourceProperty, Value: p.Source}, {Name: sumProperty, Value: p.Sum}, {Name: inProperty, Value: strings.Join(p.In, " ")}} {
		if q.Value != "" {
			properties = append(properties, q)
		}
	}
	if len(properties) > 0 {
		c.Properties = &properties
	}
	return c
}

// Read reads the parts of a bill of materials.
func Read(r io.Reader) (Image, error) {
	var doc cdx.BOM
	if err := cdx.NewBOMDecoder(io.LimitReader(r, 64<<20), cdx.BOMFileFormatJSON).Decode(&doc); err != nil {
		return Image{}, fmt.Errorf("bill of materials: %w", err)
	}
	if doc.BOMFormat != cdx.BOMFormat || doc.Metadata == nil || doc.Metadata.Component == nil || doc.Components == nil {
		return Image{}, fmt.Errorf("bill of materials: got format %.40q, want CycloneDX with a component and its parts", doc.BOMFormat)
	}
	i := Image{Name: doc.Metadata.Component.Name, Version: doc.Metadata.Component.Version}
	for _, c := range *doc.Components {
		p := Part{Name: c.Name, Version: c.Version, PURL: c.PackageURL}
		if c.Properties != nil {
			for _, q := range *c.Properties {
				if q.Name == sourceProperty {
					p.Source = q.Value
				}
			}
		}
		i.Parts = append(i.Parts, p)
	}
	return i, nil
}

// digest of a part, under the names in-toto has for them.
func (p Part) digest() map[string]string {
	if p.SHA256 != "" {
		return map[string]string{"sha256": p.SHA256}
	}
	if raw, ok := strings.CutPrefix(p.Sum, "h1:"); ok {
		if sum, err := decode(raw); err == nil {
			return map[string]string{"dirHash1": hex.EncodeToString(sum)}
		}
	}
	return nil
}
