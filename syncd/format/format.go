// Package format recognises clinical files by their own rules. Its guarantee: what
// Recognise names is whole and says what it is in the way its standard wants, or
// in a known way of a real device, which is then named; anything else is refused
// with the place and the reason. It never changes a byte and holds no input.
package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of files, as destinations accept them.
const (
	DICOM  = "dicom"
	SCPECG = "scp-ecg"
	AECG   = "aecg"
	PDF    = "pdf"
	HL7    = "hl7v2" // a message, recognised by its protocol and not here
	FHIR   = "fhir"  // resources in a transaction, read by syncd/submission
)

// Facts is what a file says of itself.
type Facts struct {
	Kind        string
	ContentType string
	Document    string // the file's own identifier, if it has one
	Patient     Patient
	Deviation   string // how it differs from its standard, if it does
}

// Patient is who a file is about, as it says; every field may be empty. It must
// not reach a log.
type Patient struct {
	ID     string
	Issuer string // of ID, where the format has one
	Name   string // FAMILY^GIVEN for DICOM and SCP-ECG
	Birth  string // YYYYMMDD
	Sex    string // M, F, O or empty
}

// ErrUnknown marks bytes in which no format was recognised.
var ErrUnknown = errors.New("format not recognised, want DICOM, SCP-ECG, HL7 aECG or PDF")

// ErrMalformed marks a file that is recognised but not sound.
var ErrMalformed = errors.New("malformed")

// Recognise looks at a whole file. Of a DICOM file it only says that it is one:
// the data set is checked as it passes.
func Recognise(b []byte) (Facts, error) {
	switch {
	case len(b) >= 132 && string(b[128:132]) == "DICM":
		return Facts{Kind: DICOM, ContentType: "application/dicom"}, nil
	case bytes.HasPrefix(b, []byte("%PDF-")):
		return pdf(b)
	case looksLikeSCP(b):
		return scp(b)
	case looksLikeXML(b):
		return aecg(b)
	}
	return Facts{}, ErrUnknown
}

func malformed(kind, format string, args ...any) error {
	return fmt.Errorf("%w %s: %s", ErrMalformed, kind, fmt.Sprintf(format, args...))
}

// pdf holds the frame of a PDF file (ISO 32000-1 §7.5): header first, and at the
// end the place of a cross-reference that lies inside the file.
func pdf(b []byte) (Facts, error) {
	if len(b) < 16 || b[5] < '1' || b[5] > '2' || b[6] != '.' {
		return Facts{}, malformed(PDF, "version %q", b[5:min(len(b), 8)])
	}
	tail := b[max(0, len(b)-1024):]
	start, end := bytes.LastIndex(tail, []byte("startxref")), bytes.LastIndex(tail, []byte("%%EOF"))
	if end < 0 || start < 0 || end < start {
		return Facts{}, malformed(PDF, "no startxref and %%%%EOF in its last 1024 bytes: cut short?")
	}
	var at int
	if _, err := fmt.Sscan(string(tail[start+len("startxref"):end]), &at); err != nil || at < 0 || at >= len(b) {
		return Facts{}, malformed(PDF, "cross-reference at %d of %d bytes", at, len(b))
	}
	return Facts{Kind: PDF, ContentType: "application/pdf"}, nil
}

func uint16At(b []byte, at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
func uint32At(b []byte, at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
