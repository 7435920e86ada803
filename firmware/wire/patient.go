package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// PatientKeyFile is the key of the pseudonyms, in the run directory, 0640: wire
// files are shown to technicians and sent to support, this one never is. It is
// there before the first pseudonym is.
const PatientKeyFile = "patient.key"

// PatientKeySize is its length in bytes.
const PatientKeySize = 32

// Pseudonym is what a patient is called in wire files: nothing by itself, and the
// same for whoever has the key and a number or id of the patient's.
func Pseudonym(key []byte, number string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("clinicgate/patient/v1\x00"))
	mac.Write([]byte(number))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
