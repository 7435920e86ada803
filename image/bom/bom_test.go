package bom

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

var image = Image{Name: "clinicgate box", Version: "1.2", Parts: []Part{
	{Name: "libc6", Version: "2.36-9+deb12u4", PURL: DebianURL("libc6", "2.36-9+deb12u4", "amd64"), SHA256: strings.Repeat("5a", 32), Source: "glibc", Licences: []string{"LGPL-2.1"}},
	{Name: "pcscd", Version: "1.9.9-2", PURL: DebianURL("pcscd", "1.9.9-2", "amd64"), SHA256: strings.Repeat("00", 32), Source: "pcsc-lite", Licences: []string{"BSD-3-Clause"}},
	{Name: "golang.org/x/net", Version: "v0.1.0", PURL: ModuleURL("golang.org/x/net", "v0.1.0"), Sum: "h1:AAECAw==", Licences: []string{"BSD-3-Clause"}, In: []string{"netd", "syncd"}},
	{Name: "std", Version: "1.26.0", PURL: ModuleURL("std", "1.26.0")},
}}

func TestThereAndBack(t *testing.T) {
	var text, again bytes.Buffer
	if err := image.Write(&text); err != nil {
		t.Fatal(err)
	}
	shuffled := image
	shuffled.Parts = slices.Clone(image.Parts)
	slices.Reverse(shuffled.Parts)
	if err := shuffled.Write(&again); err != nil {
		t.Fatal(err)
	}
	if text.String() != again.String() {
		t.Error("the order of parts changes the document")
	}
	for _, want := range []string{`"specVersion": "1.6"`, `"serialNumber": "urn:uuid:`, `"purl": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12"`, `"name": "LGPL-2.1"`, `"id": "BSD-3-Clause"`, `"value": "netd syncd"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("lacks %s:\n%s", want, text.String())
		}
	}
	got, err := Read(&text)
	if err != nil || len(got.Parts) != 4 || got.Version != "1.2" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if p := got.Parts[0]; p.Source != "glibc" || p.PURL != image.Parts[0].PURL {
		t.Errorf("got %+v", p)
	}
	for _, bad := range []string{"", "{}", `{"bomFormat":"CycloneDX","specVersion":"1.6"}`} {
		if _, err := Read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestProvenance(t *testing.T) {
	var text bytes.Buffer
	err := Build{Image: image, Board: "box", Commit: "cafe", Release: true, Tools: map[string]string{"go": "go1.26"}, Made: map[string]string{"root.erofs": strings.Repeat("11", 32)}}.Write(&text)
	if err != nil {
		t.Fatal(err)
	}
	var s statement
	if err := json.Unmarshal(text.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	deps := s.Predicate.BuildDefinition.ResolvedDependencies
	if len(deps) != 5 || deps[0].Digest["gitCommit"] != "cafe" || deps[1].Digest["sha256"] == "" || deps[3].Digest["dirHash1"] != "00010203" {
		t.Errorf("made of %+v", deps)
	}
	if len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] != strings.Repeat("11", 32) || s.PredicateType != "https://slsa.dev/provenance/v1" {
		t.Errorf("made %+v", s.Subject)
	}
}

func TestLicences(t *testing.T) {
	for text, want := range map[string]string{
		"Permission is hereby granted, free of charge, to any person\n obtaining a copy": "MIT",
		"Apache License\n    Version 2.0, January 2004":                                  "Apache-2.0",
		"Redistributions in binary form must reproduce ... Neither the name of Google":   "BSD-3-Clause",
		"Redistributions in binary form must reproduce the above":                        "BSD-2-Clause",
		"All rights reserved.": "",
	} {
		if got := Licence(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	got := DebianLicences("Files: *\nLicense: GPL-2+\n text\n\nFiles: x\nLicense: MIT\n\nLicense: GPL-2+\n")
	if !slices.Equal(got, []string{"GPL-2+", "MIT"}) {
		t.Errorf("fields: got %q", got)
	}
	if got := DebianLicences("On Debian systems, see /usr/share/common-licenses/LGPL-2.1."); !slices.Equal(got, []string{"LGPL-2.1"}) {
		t.Errorf("texts: got %q", got)
	}
}

func TestWriteLicences(t *testing.T) {
	var out bytes.Buffer
	if err := image.WriteLicences(&out, map[string]string{image.Parts[0].PURL: "the text\n"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"libc6 2.36-9+deb12u4: LGPL-2.1\n", "std 1.26.0: UNKNOWN\n", "---\n\nthe text\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
}

const tracker = `{
 "glibc": {
  "CVE-2023-4911": {"description":"Looney Tunables","releases":{"bookworm":{"status":"resolved","fixed_version":"2.36-9+deb12u3","urgency":"not yet assigned"}}},
  "CVE-2024-2961": {"description":"iconv","releases":{"bookworm":{"status":"resolved","fixed_version":"2.36-9+deb12u6","urgency":"not yet assigned"}}},
  "CVE-2010-4756": {"description":"glob","releases":{"bookworm":{"status":"open","urgency":"unimportant"}}},
  "CVE-2099-1": {"description":"still open","releases":{"bookworm":{"status":"open","urgency":"low"},"trixie":{"status":"open","urgency":"low"}}}
 },
 "openssl": {"CVE-2099-2": {"releases":{"bookworm":{"status":"open","urgency":"high"}}}}
}`

func TestDebian(t *testing.T) {
	found, err := image.Debian(strings.NewReader(tracker), "bookworm")
	if err != nil || len(found) != 2 || found[0].ID != "CVE-2024-2961" || found[0].Fixed != "2.36-9+deb12u6" || found[1].ID != "CVE-2099-1" {
		t.Errorf("got %+v, %v", found, err)
	}
	for _, bad := range []string{"{}", "[]", `{"openssl":{}}`} {
		if _, err := image.Debian(strings.NewReader(bad), "bookworm"); err == nil {
			t.Errorf("%s is good news", bad)
		}
	}
}

const scan = `{"config":{"scanner_name":"govulncheck"}}
{"osv":{"id":"GO-2023-1","summary":"HTTP/2 stalls"}}
{"finding":{"osv":"GO-2023-1","fixed_version":"v0.7.0","trace":[{"module":"golang.org/x/net","version":"v0.1.0"}]}}
{"finding":{"osv":"GO-2023-1","fixed_version":"v0.7.0","trace":[{"module":"golang.org/x/net","version":"v0.1.0","package":"golang.org/x/net/http2","function":"Serve"}]}}
{"finding":{"osv":"GO-2023-9","trace":[{"module":"example.org/tool","version":"v1.0.0"}]}}
`

func TestGo(t *testing.T) {
	found, err := image.Go(strings.NewReader(scan))
	if err != nil || len(found) != 1 || !found[0].Called || found[0].What != "HTTP/2 stalls" || found[0].Fixed != "v0.7.0" {
		t.Errorf("got %+v, %v", found, err)
	}
	for _, bad := range []string{"", "{}", "text"} {
		if _, err := image.Go(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is good news", bad)
		}
	}
	var out bytes.Buffer
	if err := image.WriteVulnerabilities(&out, found); err != nil || !strings.Contains(out.String(), `"recommendation": "take v0.7.0 or later"`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func FuzzInputs(f *testing.F) {
	f.Add([]byte(tracker))
	f.Add([]byte(scan))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = Read(bytes.NewReader(text))
		_, _ = image.Debian(bytes.NewReader(text), "bookworm")
		_, _ = image.Go(bytes.NewReader(text))
		_ = DebianLicences(string(text))
	})
}
