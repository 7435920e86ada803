package dataset

import "fmt"

// Tag is an element's group and number, (gggg,eeee) as 0xggggeeee.
type Tag uint32

// The elements kept while a data set passes, if they stand at its top level.
const (
	CharacterSet   Tag = 0x00080005
	ClassUID       Tag = 0x00080016
	InstanceUID    Tag = 0x00080018
	Accession      Tag = 0x00080050
	PatientName    Tag = 0x00100010
	PatientID      Tag = 0x00100020
	PatientIssuer  Tag = 0x00100021
	PatientBirth   Tag = 0x00100030
	PatientSex     Tag = 0x00100040
	StudyUID       Tag = 0x0020000D
	SeriesUID      Tag = 0x0020000E
	samples        Tag = 0x00280002
	frames         Tag = 0x00280008
	rows           Tag = 0x00280010
	columns        Tag = 0x00280011
	bits           Tag = 0x00280100
	pixelData      Tag = 0x7FE00010
	item           Tag = 0xFFFEE000
	itemDelimiter  Tag = 0xFFFEE00D
	seqDelimiter   Tag = 0xFFFEE0DD
	lastIdentifier Tag = 0x0020FFFF // what names patient, study and instance is not after this
)

// String writes the tag as the standard does.
func (t Tag) String() string { return fmt.Sprintf("(%04x,%04x)", uint32(t)>>16, uint32(t)&0xFFFF) }

func kept(t Tag) bool {
	switch t {
	case CharacterSet, ClassUID, InstanceUID, Accession, PatientName, PatientID, PatientIssuer, PatientBirth, PatientSex, StudyUID, SeriesUID,
		samples, frames, rows, columns, bits:
		return true
	}
	return false
}

// longForm tells, for explicit VR, whether two reserved bytes and a length of 32
// bits follow (PS3.5 §7.1.2), and whether the VR is one at all.
func longForm(vr [2]byte) (long, known bool) {
	switch string(vr[:]) {
	case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
		return true, true
	case "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US":
		return false, true
	}
	return false, false
}
