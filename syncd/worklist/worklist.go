// Package worklist says which orders a device's query asks for. It is pure: orders
// and patients come in as FHIR has them, entries of the DICOM Modality Worklist
// (PS3.4 annex K) come out. Its guarantee: an entry is returned exactly when it
// meets every matching key of the query, and the same order always has the same
// study, whoever asks and however often.
package worklist

import (
	"crypto/sha1"
	"fmt"
	"math/big"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/identity"
)

// Entry is one scheduled procedure step. All values are as DICOM wants them.
type Entry struct {
	Name, ID, Issuer, Birth, Sex string // patient; Name is a PN, Birth YYYYMMDD
	Study                        string // Study Instance UID
	Accession                    string // SH, at most 16 characters, perhaps empty
	Requested                    string // Requested Procedure ID
	Step                         string // Scheduled Procedure Step ID
	Description                  string
	Referring                    string
	Modality                     string
	Station                      string // AE title it is meant for; empty: any
	Date, Time                   string // YYYYMMDD and HHMM, of the clinic
	Person                       identity.Person
}

// Policy is what a site says about its orders.
type Policy struct {
	System string            // of the patient numbers devices use; empty: the record number
	Codes  map[string]string // code → modality, beside those known here
}

// modalities by code: DICOM's own (PS3.16 CID 29) stand for themselves.
var modalities = map[string]string{
	"11524-6": "ECG", "34534-8": "ECG", "18843-3": "ECG", "44974-4": "ECG", // LOINC
	"29303009": "ECG", "268400002": "ECG", "427047002": "ECG", "164847006": "ECG", // SNOMED CT
	"40701008": "US", "16310003": "US", "433236007": "US", "33367005": "XA", "77343006": "XA",
	"77477000": "CT", "113091000": "MR",
}

const dicomCodes = "http://dicom.nema.org/resources/ontology/DCM"

// Modality is the kind of device an order is for; empty: not one for a device.
func (p Policy) Modality(o fhir.Order) string {
	for _, c := range o.Codes {
		for _, k := range c.Coding {
			if m := p.Codes[k.Code]; m != "" {
				return m
			}
			if k.System == dicomCodes && len(k.Code) <= 16 {
				return k.Code
			}
			if m := modalities[k.Code]; m != "" {
				return m
			}
		}
	}
	return ""
}

// New makes the entry of an order for a device; ok is false for an order that no
// device is for, or of a patient a device can't be told.
func (p Policy) New(o fhir.Order, of fhir.Patient) (e Entry, ok bool) {
	name := of.Called()
	e = Entry{
		Name: personName(name), ID: of.Number(p.System), Birth: strings.ReplaceAll(of.Birth, "-", ""), Sex: sex(of.Gender),
		Study: study(o), Accession: accession(o), Requested: short(o.ID), Step: short(o.ID), Description: long(o.Words()),
		Referring: long(o.By), Modality: p.Modality(o), Date: o.Day(), Time: o.Time(), Person: Person(of),
	}
	if len(e.Birth) != 8 {
		e.Birth = ""
	}
	return e, e.Modality != "" && e.ID != "" && len(e.ID) <= 64 && e.Name != ""
}

// Person is a patient for judging whose an upload is.
func Person(of fhir.Patient) identity.Person {
	p := identity.Person{Ref: of.Ref.String(), Birth: of.Birth}
	for _, n := range of.Numbers {
		p.Numbers = append(p.Numbers, identity.Number{System: n.System, Value: n.Value})
	}
	for _, n := range of.Names {
		if n.Family == "" && len(n.Given) == 0 {
			n.Family = n.Text
		}
		p.Names = append(p.Names, identity.Name{Family: n.Family, Given: n.Given})
	}
	return p
}

// personName writes a name as a PN: family, first given, the other given names.
func personName(n fhir.HumanName) string {
	if n.Family == "" && len(n.Given) == 0 {
		return clean(n.Text)
	}
	given, middle := "", ""
	if len(n.Given) > 0 {
		given, middle = n.Given[0], strings.Join(n.Given[1:], " ")
	}
	return long(strings.TrimRight(clean(n.Family)+"^"+clean(given)+"^"+clean(middle), "^"))
}

// clean takes out what separates parts of a PN or values of any element.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`^=\`, r) || r < ' ' {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}

func long(s string) string { // LO and PN: 64 characters
	r := []rune(strings.ReplaceAll(s, `\`, " "))
	return strings.TrimSpace(string(r[:min(len(r), 64)]))
}

func sex(gender string) string {
	return map[string]string{"male": "M", "female": "F", "other": "O"}[gender]
}

// study is the order's own study (identifier urn:dicom:uid), else one made of its
// reference: 2.25. and a name-based UUID (PS3.5 §B.2), so it is always the same.
func study(o fhir.Order) string {
	for _, n := range o.Numbers {
		if uid := strings.TrimPrefix(n.Value, "urn:oid:"); n.System == "urn:dicom:uid" && uid != "" && len(uid) <= 64 && strings.Trim(uid, "0123456789.") == "" {
			return uid
		}
	}
	sum := sha1.Sum([]byte("urn:clinicgate:order:" + o.Ref.String()))
	id := sum[:16]
	id[6], id[8] = id[6]&0x0F|0x50, id[8]&0x3F|0x80
	return "2.25." + new(big.Int).SetBytes(id).String()
}

// accession is the order's accession number (v2-0203 ACSN), else a short number of
// its own.
func accession(o fhir.Order) string {
	for _, n := range o.Numbers {
		if n.Type.Has("ACSN") && n.Value != "" && len(n.Value) <= 16 {
			return clean(n.Value)
		}
	}
	return short(o.ID)
}

// short is an id in at most 16 characters (SH): itself, or a digest of it.
func short(id string) string {
	if len(id) <= 16 {
		return id
	}
	sum := sha1.Sum([]byte(id))
	return fmt.Sprintf("G%X", sum[:7])
}
