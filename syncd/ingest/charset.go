package ingest

import (
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// encodings are the defined terms of Specific Character Set (PS3.3 §C.12.1.1.2),
// without "ISO_IR " or "ISO 2022 IR ". The table of suyashkumar/dicom v1.1.0 is
// not used: it panics on ISO_IR 166, which any device could send.
func encodings(term string) encoding.Encoding {
	term = strings.TrimPrefix(strings.TrimPrefix(term, "ISO 2022 IR "), "ISO_IR ")
	switch term {
	case "", "6", "100":
		return charmap.ISO8859_1
	case "101":
		return charmap.ISO8859_2
	case "109":
		return charmap.ISO8859_3
	case "110":
		return charmap.ISO8859_4
	case "144":
		return charmap.ISO8859_5
	case "127":
		return charmap.ISO8859_6
	case "126":
		return charmap.ISO8859_7
	case "138":
		return charmap.ISO8859_8
	case "148":
		return charmap.ISO8859_9
	case "166":
		return charmap.Windows874
	case "13":
		return japanese.ShiftJIS
	case "87", "159":
		return japanese.ISO2022JP
	case "149":
		return korean.EUCKR
	case "58", "GBK":
		return simplifiedchinese.GBK
	case "GB18030":
		return simplifiedchinese.GB18030
	}
	return unicode.UTF8 // ISO_IR 192, and what nobody defined: ASCII is a part of it
}

// decode reads a text value in its Specific Character Set (PS3.5 §6.1): the last
// set named holds what the first doesn't. What can't be read is marked: the value
// is for comparing and showing, the data set itself is never touched.
func decode(sets []string, v []byte) string {
	return decodeIn(sets, len(sets)-1, string(v))
}

// decodeName reads a person name: up to three groups, alphabetic, ideographic and
// phonetic, each with the set of its number or the last (PS3.5 §6.2.1.2).
func decodeName(sets []string, v []byte) string {
	groups := strings.SplitN(string(v), "=", 3)
	for i := range groups {
		groups[i] = decodeIn(sets, i, groups[i])
	}
	return strings.Join(groups, "=")
}

func decodeIn(sets []string, i int, s string) string {
	term := strings.TrimSpace(sets[min(i, len(sets)-1)])
	// Korean and Chinese are announced (PS3.5 §6.1.2.5.3); their decoders here take
	// them for granted.
	in := strings.ReplaceAll(strings.ReplaceAll(s, "\x1b$)C", ""), "\x1b$)A", "")
	if out, err := encodings(term).NewDecoder().String(in); err == nil {
		s = out
	}
	return strings.Trim(strings.ToValidUTF8(s, "\uFFFD"), " \x00")
}

// Decode reads a text value whose data set says its Specific Character Set is set.
func Decode(set string, v []byte) string { return decode(strings.Split(set, `\`), v) }

// Encode writes text in one character set, if all of it can be written so.
func Encode(set, s string) ([]byte, bool) {
	out, err := encodings(strings.TrimSpace(set)).NewEncoder().String(s)
	return []byte(out), err == nil
}
