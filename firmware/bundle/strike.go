package bundle

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Struck stands where something was left out.
const Struck = "(struck)"

// personal are keys of wire files whose values point to a person, by however blind a
// name, or serve to be let in.
var personal = [...]string{"sub", "sid", "patient", "who", "says", "care", "consents", "keys", "key_by", "x5t#S256", "client_id", "portal"}

// JSON returns a wire file without what points to a person. What is no JSON is left
// out whole.
func JSON(text []byte) []byte {
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return []byte(Struck + "\n")
	}
	out, err := json.MarshalIndent(strikeValue(v), "", "  ")
	if err != nil { // it was JSON
		return []byte(Struck + "\n")
	}
	return append(out, '\n')
}

func strikeValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if slices.Contains(personal[:], k) {
				v[k] = Struck
				continue
			}
			v[k] = strikeValue(x)
		}
	case []any:
		for i, x := range v {
			v[i] = strikeValue(x)
		}
	case string:
		return string(Text([]byte(v)))
	}
	return v
}

// The shapes in which people and secrets are written in what a clinic's programs say.
// No program of the box says any of them: this is for the line that slipped through,
// or that a device or a server worded.
var shapes = [...]struct {
	shape *regexp.Regexp
	by    string
}{
	{regexp.MustCompile(`\b(Patient|Practitioner|PractitionerRole|RelatedPerson|Person)/[^\s"'\\&?,;)]+`), "$1/" + Struck},                                        // FHIR references
	{regexp.MustCompile(`(?i)([?&](?:name|family|given|identifier|patient|subject|birthdate|telecom|address|phone|email)[^=&\s"]*=)[^&\s"\\]*`), "${1}" + Struck}, // FHIR searches
	{regexp.MustCompile(`://[^/@\s"]+@`), "://" + Struck + "@"},                                                                                                   // user and password in a URL
	{regexp.MustCompile(`(?i)\b(bearer|basic|dpop) [A-Za-z0-9._~+/=-]{8,}`), "$1 " + Struck},                                                                      // what lets one in
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), Struck},                                                                        // tokens
	{regexp.MustCompile(`\b[XYZ]?\d{7,8}[A-HJ-NP-TV-Z]\b`), Struck},                                                                                               // Spain's DNI and NIE
	{regexp.MustCompile(`\b(?:19|20)?\d{6}[-+]\d{4}\b`), Struck},                                                                                                  // Sweden's personnummer
	{regexp.MustCompile(`[\pL'.-]+(?: [\pL'.-]+)*\^[\pL'. ^-]*`), Struck},                                                                                         // DICOM and HL7: GARCIA^MARIA; last, for it takes words beside the name along
}

// Text returns a log, or any text, without what looks like a person or a secret.
func Text(text []byte) []byte {
	for _, s := range shapes {
		text = s.shape.ReplaceAll(text, []byte(s.by))
	}
	return text
}

// secretKey is a key of a site file whose value would be a secret if somebody put one
// there against the rules. Names of files are not.
var secretKey = regexp.MustCompile(`(?i)(password|passwd|secret|token|psk|private|auth|(^|_)key)$`)

// fileName is what such a key rightly has.
var fileName = regexp.MustCompile(`^"[A-Za-z0-9._-]{1,64}\.(key|psk|auth|pem|crt)"`)

// Site returns a site file without anything that could be a secret: public keys stay.
func Site(text []byte) []byte {
	var out []string
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, "=")
		name := strings.Trim(key, " \t#")
		if ok && secretKey.MatchString(name) && name != "peer_key" && name != "hotlist_key" && !fileName.MatchString(strings.TrimSpace(value)) {
			line = key + `= "` + Struck + "\"\n"
		}
		out = append(out, line)
	}
	return Text([]byte(strings.Join(out, "")))
}
