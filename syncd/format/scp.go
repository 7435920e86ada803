package format

import (
	"bytes"
	"fmt"
	"strings"
)

// SCP-ECG (EN 1064, ISO/IEEE 11073-91064). A record is a CRC, its length, and
// sections; section 0 points at the others. A section is a CRC, its number,
// its length, versions, six reserved bytes, and its data.
const (
	scpHeader  = 6  // CRC and length of the record
	scpSection = 16 // header of a section
	scpPointer = 10 // entry of section 0: number, length, index
	scpTag     = "SCPECG"
	scpTagAt   = scpHeader + 10 // in section 0's reserved bytes (§5.3.2)
	scpPatient = 1              // the section with patient and device
)

// healForce is the deviation of Heal Force handhelds, seen in a real file: the
// CRC and length of the record are not as the standard wants (the file is padded
// to 32 KiB), section 0 has no SCPECG, and indices count from 0 instead of 1.
// The sections themselves are in order, and that is held.
const healForce = "Heal Force layout: no SCPECG tag, record CRC and length not as in EN 1064, indices from 0"

func looksLikeSCP(b []byte) bool {
	if len(b) < scpHeader+scpSection || uint16At(b, scpHeader+2) != 0 {
		return false
	}
	n := uint32At(b, scpHeader+4) - scpSection // length of section 0's pointers
	return string(b[scpTagAt:scpTagAt+6]) == scpTag || n >= 2*scpPointer && n%scpPointer == 0 && n < 1<<12
}

func scp(b []byte) (Facts, error) {
	f := Facts{Kind: SCPECG, ContentType: "application/octet-stream"}
	first := 1 // index of the record's first byte (§5.3.3)
	if string(b[scpTagAt:scpTagAt+6]) != scpTag {
		f.Deviation, first = healForce, 0
	} else if err := scpRecord(b); err != nil {
		return Facts{}, err
	}
	patient, err := scpSections(b, first)
	if err != nil {
		return Facts{}, err
	}
	f.Patient, err = scpDemographics(patient)
	return f, err
}

// scpRecord holds the record's own length and CRC (§5.2).
func scpRecord(b []byte) error {
	if n := uint32At(b, 2); n != len(b) {
		return malformed(SCPECG, "record says %d bytes, got %d", n, len(b))
	}
	if got, want := crcCCITT(b[2:]), uint16At(b, 0); int(got) != want {
		return malformed(SCPECG, "CRC %#04x, record says %#04x", got, want)
	}
	return nil
}

// crcCCITT is the CRC of EN 1064 annex E: x^16+x^12+x^5+1 from ones, not
// reflected.
func crcCCITT(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			if carry := crc&0x8000 != 0; carry {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// scpSections holds every pointer against the section it points at and returns
// the data of section 1.
func scpSections(b []byte, first int) (patient []byte, err error) {
	size := uint32At(b, scpHeader+4)
	if size < scpSection || scpHeader+size > len(b) {
		return nil, malformed(SCPECG, "section 0 of %d bytes in %d", size, len(b))
	}
	table := b[scpHeader+scpSection : scpHeader+size]
	for ; len(table) >= scpPointer; table = table[scpPointer:] {
		number, length, at := uint16At(table, 0), uint32At(table, 2), uint32At(table, 6)-first
		if length == 0 || number == 0 {
			continue // a section left out; section 0 itself
		}
		if at < 0 || length < scpSection || at+length > len(b) {
			return nil, malformed(SCPECG, "section %d of %d bytes at %d, in %d", number, length, at, len(b))
		}
		if n, l := uint16At(b, at+2), uint32At(b, at+4); n != number || l > length || l < length && first == 1 {
			return nil, malformed(SCPECG, "at %d: section %d of %d bytes, want %d of %d", at, n, l, number, length)
		}
		if number == scpPatient {
			patient = b[at+scpSection : at+length]
		}
	}
	if patient == nil {
		return nil, malformed(SCPECG, "section 1, patient and recording, is missing")
	}
	return patient, nil
}

// scpDemographics reads section 1: fields of tag, length and value up to tag 255
// (§5.4.3). Heal Force pads with zeros instead.
func scpDemographics(b []byte) (p Patient, err error) {
	var family, given string
	for len(b) > 0 && b[0] != 255 && len(bytes.Trim(b, "\x00")) > 0 {
		if len(b) < 3 || 3+uint16At(b, 1) > len(b) {
			return p, malformed(SCPECG, "section 1, tag %d sticks out", b[0])
		}
		value := b[3 : 3+uint16At(b, 1)]
		switch b[0] {
		case 0:
			family = scpText(value)
		case 1:
			given = scpText(value)
		case 2:
			p.ID = scpText(value)
		case 5:
			p.Birth = scpDate(value)
		case 8:
			p.Sex = scpSex(value)
		}
		b = b[3+len(value):]
	}
	p.Name = strings.Trim(family+"^"+given, "^")
	return p, nil
}

func scpText(v []byte) string {
	s, _, _ := strings.Cut(string(v), "\x00")
	return strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
}

func scpDate(v []byte) string {
	if len(v) != 4 || v[2] < 1 || v[2] > 12 || v[3] < 1 || v[3] > 31 {
		return ""
	}
	return fmt.Sprintf("%04d%02d%02d", uint16At(v, 0), v[2], v[3])
}

func scpSex(v []byte) string {
	if len(v) == 1 {
		switch v[0] {
		case 1:
			return "M"
		case 2:
			return "F"
		}
	}
	return ""
}
