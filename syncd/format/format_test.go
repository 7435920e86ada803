package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// smallPDF is a one-object file with a cross-reference at the place it names.
func smallPDF() []byte {
	body := "%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\n"
	return []byte(body + "xref\n0 1\n0000000000 65535 f \ntrailer\n<</Root 1 0 R/Size 1>>\nstartxref\n44\n%%EOF\n")
}

func TestRealFiles(t *testing.T) {
	for name, want := range map[string]Facts{
		"ecgtoolkit_example.scp": {Kind: SCPECG, ContentType: "application/octet-stream",
			Patient: Patient{ID: "SBJ-123", Name: "Clark", Birth: "19530508", Sex: "M"}},
		"healforce_62.scp": {Kind: SCPECG, ContentType: "application/octet-stream", Deviation: healForce, Patient: Patient{ID: "00000"}},
		"fda_minimum_aecg.xml": {Kind: AECG, ContentType: "application/xml", Document: "61d1a24f-b47e-41aa-ae95-f8ac302f4eeb",
			Patient: Patient{ID: "SBJ-123"}},
		"fda_subject1_0.xml": {Kind: AECG, ContentType: "application/xml", Document: "61d1a24f-b47e-41aa-ae95-f8ac302f4eeb^subject1_0",
			Patient: Patient{ID: "subject1", Name: "Clark", Birth: "19530508", Sex: "M"}},
	} {
		got, err := Recognise(file(t, name))
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
	if got, err := Recognise(smallPDF()); err != nil || got.Kind != PDF {
		t.Errorf("PDF: %+v, %v", got, err)
	}
	if got, err := Recognise(append(make([]byte, 128), "DICM"...)); err != nil || got.Kind != DICOM {
		t.Errorf("DICOM: %+v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	scp := file(t, "ecgtoolkit_example.scp")
	heal := file(t, "healforce_62.scp")
	xml := file(t, "fda_minimum_aecg.xml")
	edit := func(b []byte, do func([]byte)) []byte { c := bytes.Clone(b); do(c); return c }
	root := `<AnnotatedECG xmlns="urn:hl7-org:v3">`
	for name, c := range map[string]struct {
		in   []byte
		want error
		says string
	}{
		"nothing":             {nil, ErrUnknown, ""},
		"text":                {[]byte("hello, clinic"), ErrUnknown, ""},
		"jpeg":                {[]byte("\xff\xd8\xff\xe0 JFIF"), ErrUnknown, ""},
		"scp, a bit flipped":  {edit(scp, func(b []byte) { b[5000] ^= 1 }), ErrMalformed, "CRC"},
		"scp, CRC flipped":    {edit(scp, func(b []byte) { b[0] ^= 1 }), ErrMalformed, "CRC"},
		"scp, cut":            {scp[:20000], ErrMalformed, "record says 34144 bytes, got 20000"},
		"scp, appended":       {append(bytes.Clone(scp), 0), ErrMalformed, "34145"},
		"scp, only a header":  {scp[:30], ErrMalformed, ""},
		"heal force, cut":     {heal[:20000], ErrMalformed, "section 6"},
		"heal force, section": {edit(heal, func(b []byte) { b[0x54]++ }), ErrMalformed, "section 2 of 66 bytes, want 1"},
		"other xml":           {[]byte(`<ClinicalDocument xmlns="urn:hl7-org:v3"/>`), ErrUnknown, ""},
		"other namespace":     {[]byte(`<AnnotatedECG xmlns="urn:x"/>`), ErrUnknown, ""},
		"html":                {[]byte("<!DOCTYPE html><html></html>"), ErrMalformed, "document type"},
		"billion laughs":      {[]byte(`<!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;">]>` + root + "&m;</AnnotatedECG>"), ErrMalformed, "document type"},
		"unknown entity":      {[]byte(root + "&lol;</AnnotatedECG>"), ErrMalformed, "invalid character entity"},
		"xml, cut":            {xml[:len(xml)-20], ErrMalformed, ""},
		"xml, wrong end":      {[]byte(root + "<a></b></AnnotatedECG>"), ErrMalformed, "another order"},
		"xml, two roots":      {[]byte(root + "</AnnotatedECG>" + root + "</AnnotatedECG>"), ErrMalformed, "second root"},
		"xml, too deep":       {[]byte(root + strings.Repeat("<a>", 1000)), ErrMalformed, "128"},
		"pdf, cut":            {smallPDF()[:60], ErrMalformed, "startxref"},
		"pdf, xref outside":   {bytes.Replace(smallPDF(), []byte("\n44\n"), []byte("\n9999\n"), 1), ErrMalformed, "9999"},
		"pdf, version":        {[]byte("%PDF-x.y and more text"), ErrMalformed, "version"},
	} {
		got, err := Recognise(c.in)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %+v, %v, want %v with %q", name, got, err, c.want, c.says)
		}
	}
}

// Reasons reach logs; what the file says about a person must not.
func TestReasonsQuoteNothing(t *testing.T) {
	in := `<AnnotatedECG xmlns="urn:hl7-org:v3"><name>Maria Secreto</name <secreto="1"></AnnotatedECG>`
	if _, err := Recognise([]byte(in)); err == nil || strings.Contains(strings.ToLower(err.Error()), "secreto") {
		t.Errorf("got %v", err)
	}
}

// An ECG in another encoding and with a prefix is the same to us.
func TestEncodings(t *testing.T) {
	in := "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><h:AnnotatedECG xmlns:h=\"urn:hl7-org:v3\"><h:trialSubject>" +
		"<h:subjectDemographicPerson><h:name><h:family>Mu\xf1oz</h:family> <h:given>Luz</h:given></h:name>" +
		"</h:subjectDemographicPerson></h:trialSubject></h:AnnotatedECG>"
	got, err := Recognise([]byte(in))
	if err != nil || got.Patient.Name != "Muñoz Luz" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCRC(t *testing.T) {
	if got := crcCCITT([]byte("123456789")); got != 0x29B1 { // CRC-16/CCITT-FALSE's check value
		t.Errorf("got %#x", got)
	}
}

// Nothing panics, and what is taken as standard SCP-ECG has its length and CRC.
func FuzzRecognise(f *testing.F) {
	f.Add(file(f, "healforce_62.scp")[:600])
	f.Add(file(f, "ecgtoolkit_example.scp")[:600])
	f.Add(file(f, "fda_minimum_aecg.xml"))
	f.Add(smallPDF())
	small := file(f, "ecgtoolkit_example.scp")[:scpHeader+scpSection+2*scpPointer]
	f.Add(small)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Recognise(b)
		if err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v", err)
		}
		if err == nil && got.Kind == SCPECG && got.Deviation == "" &&
			(int(binary.LittleEndian.Uint32(b[2:])) != len(b) || crcCCITT(b[2:]) != binary.LittleEndian.Uint16(b)) {
			t.Fatal("taken with a wrong length or CRC")
		}
		if err == nil && got.Kind == "" {
			t.Fatal("taken for nothing")
		}
	})
}
