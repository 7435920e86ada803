package dataset

// Syntax is a transfer syntax: how the elements of a data set are written.
type Syntax struct {
	UID          string
	Name         string
	Implicit     bool // elements carry no VR
	BigEndian    bool
	Deflated     bool
	Encapsulated bool // pixel data may come in compressed fragments
}

// The transfer syntaxes taken (PS3.5 annex A). Pixel data inside them is never
// opened, so a compression is one more line here.
var syntaxes = [...]Syntax{
	{UID: "1.2.840.10008.1.2", Name: "Implicit VR Little Endian", Implicit: true},
	{UID: "1.2.840.10008.1.2.1", Name: "Explicit VR Little Endian"},
	{UID: "1.2.840.10008.1.2.1.99", Name: "Deflated Explicit VR Little Endian", Deflated: true},
	{UID: "1.2.840.10008.1.2.2", Name: "Explicit VR Big Endian (retired)", BigEndian: true},
	{UID: "1.2.840.10008.1.2.4.50", Name: "JPEG Baseline", Encapsulated: true},
	{UID: "1.2.840.10008.1.2.4.51", Name: "JPEG Extended", Encapsulated: true},
	{UID: "1.2.840.10008.1.2.4.57", Name: "JPEG Lossless", Encapsulated: true},
	{UID: "1.2.840.10008.1.2.4.70", Name: "JPEG Lossless, first-order prediction", Encapsulated: true},
}

// Class is a SOP class: what kind of object a data set is.
type Class struct {
	UID  string
	Name string
	ECG  bool // a waveform someone may be waiting for
}

// Verification is the class of C-ECHO; it has no data sets.
const Verification = "1.2.840.10008.1.1"

// The classes taken (PS3.4 annex B.5).
var classes = [...]Class{
	{"1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG", true},
	{"1.2.840.10008.5.1.4.1.1.9.1.2", "general ECG", true},
	{"1.2.840.10008.5.1.4.1.1.9.1.3", "ambulatory ECG", true},
	{"1.2.840.10008.5.1.4.1.1.9.1.4", "general 32-bit ECG", true},
	{"1.2.840.10008.5.1.4.1.1.9.2.1", "hemodynamic waveform", true},
	{"1.2.840.10008.5.1.4.1.1.104.1", "encapsulated PDF", false},
	{"1.2.840.10008.5.1.4.1.1.88.11", "basic text SR", false},
	{"1.2.840.10008.5.1.4.1.1.88.22", "enhanced SR", false},
	{"1.2.840.10008.5.1.4.1.1.88.33", "comprehensive SR", false},
	{"1.2.840.10008.5.1.4.1.1.88.34", "comprehensive 3D SR", false},
	{"1.2.840.10008.5.1.4.1.1.6", "ultrasound (retired)", false},
	{"1.2.840.10008.5.1.4.1.1.6.1", "ultrasound", false},
	{"1.2.840.10008.5.1.4.1.1.3", "ultrasound multi-frame (retired)", false},
	{"1.2.840.10008.5.1.4.1.1.3.1", "ultrasound multi-frame", false},
	{"1.2.840.10008.5.1.4.1.1.12.1", "X-ray angiography", false},
	{"1.2.840.10008.5.1.4.1.1.12.1.1", "enhanced X-ray angiography", false},
	{"1.2.840.10008.5.1.4.1.1.2", "CT", false},
	{"1.2.840.10008.5.1.4.1.1.2.1", "enhanced CT", false},
	{"1.2.840.10008.5.1.4.1.1.4", "MR", false},
	{"1.2.840.10008.5.1.4.1.1.4.1", "enhanced MR", false},
	{"1.2.840.10008.5.1.4.1.1.7", "secondary capture", false},
	{"1.2.840.10008.5.1.4.1.1.7.2", "multi-frame grayscale byte secondary capture", false},
	{"1.2.840.10008.5.1.4.1.1.7.4", "multi-frame true color secondary capture", false},
}

// Syntaxes lists the transfer syntaxes taken.
func Syntaxes() []Syntax { return append([]Syntax(nil), syntaxes[:]...) }

// Classes lists the SOP classes taken, Verification not among them.
func Classes() []Class { return append([]Class(nil), classes[:]...) }

// FindSyntax looks a transfer syntax up by its UID.
func FindSyntax(uid string) (Syntax, bool) {
	for _, s := range syntaxes {
		if s.UID == uid {
			return s, true
		}
	}
	return Syntax{}, false
}

// FindClass looks a SOP class up by its UID.
func FindClass(uid string) (Class, bool) {
	for _, c := range classes {
		if c.UID == uid {
			return c, true
		}
	}
	return Class{}, false
}
