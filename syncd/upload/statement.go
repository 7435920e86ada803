package upload

import "clinicgate/syncd/format"

// Keys of Upload-Metadata by which a sender states whose a file is.
const (
	statedID    = "patient-id"
	statedName  = "patient-name"       // FAMILY^GIVEN, or free text
	statedBirth = "patient-birth-date" // YYYYMMDD
	maxStated   = 256                  // bytes of a value
)

func stated(key string) bool { return key == statedID || key == statedName || key == statedBirth }

// statement is whose a file is, as its sender said when the upload began.
func statement(meta map[string]string) format.Patient {
	return format.Patient{ID: meta[statedID], Name: meta[statedName], Birth: meta[statedBirth]}
}
