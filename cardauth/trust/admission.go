package trust

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// oidAdmission is the extension that says what its subject is admitted to do
// (Common PKI part 1, table 29).
var oidAdmission = asn1.ObjectIdentifier{1, 3, 36, 8, 3, 3}

// roleOf finds the one role a certificate's professions give here. Unknown
// professions give none; two different roles are refused, not chosen between.
func roleOf(cert *x509.Certificate, roles map[string]string, number string) (string, error) {
	var found string
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidAdmission) {
			continue
		}
		professions, err := parseAdmission(ext.Value)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrRole, err)
		}
		for _, p := range professions {
			if p.registration != "" && p.registration != number {
				return "", fmt.Errorf("%w: admission and subject carry different registration numbers", ErrIdentity)
			}
			role, known := roles[p.oid]
			if known && found != "" && role != found {
				return "", fmt.Errorf("%w: certificate says both %s and %s", ErrRole, found, role)
			}
			if known {
				found = role
			}
		}
	}
	if found == "" {
		return "", fmt.Errorf("%w: no profession this site knows", ErrRole)
	}
	return found, nil
}

// A profession is one OID of one ProfessionInfo.
type profession struct{ oid, registration string }

// tags of optional parts we step over.
var (
	tag0 = casn1.Tag(0).Constructed().ContextSpecific()
	tag1 = casn1.Tag(1).Constructed().ContextSpecific()
)

// parseAdmission reads:
//
//	AdmissionSyntax ::= SEQUENCE { admissionAuthority GeneralName OPTIONAL,
//	                               contentsOfAdmissions SEQUENCE OF Admissions }
//	Admissions ::= SEQUENCE { admissionAuthority [0] OPTIONAL, namingAuthority [1] OPTIONAL,
//	                          professionInfos SEQUENCE OF ProfessionInfo }
func parseAdmission(der []byte) ([]profession, error) {
	var syntax, contents cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&syntax, casn1.SEQUENCE) || !in.Empty() {
		return nil, errAdmission
	}
	if !syntax.PeekASN1Tag(casn1.SEQUENCE) { // admissionAuthority, any GeneralName
		var name cryptobyte.String
		var tag casn1.Tag
		if !syntax.ReadAnyASN1(&name, &tag) {
			return nil, errAdmission
		}
	}
	if !syntax.ReadASN1(&contents, casn1.SEQUENCE) {
		return nil, errAdmission
	}
	var all []profession
	for !contents.Empty() {
		var one, infos cryptobyte.String
		if !contents.ReadASN1(&one, casn1.SEQUENCE) ||
			!one.SkipOptionalASN1(tag0) || !one.SkipOptionalASN1(tag1) ||
			!one.ReadASN1(&infos, casn1.SEQUENCE) {
			return nil, errAdmission
		}
		for !infos.Empty() {
			p, err := parseInfo(&infos)
			if err != nil {
				return nil, err
			}
			all = append(all, p...)
		}
	}
	return all, nil
}

var errAdmission = errors.New("admission extension is malformed")

// parseInfo reads:
//
//	ProfessionInfo ::= SEQUENCE { namingAuthority [0] OPTIONAL, professionItems SEQUENCE OF DirectoryString,
//	                              professionOIDs SEQUENCE OF OBJECT IDENTIFIER OPTIONAL,
//	                              registrationNumber PrintableString OPTIONAL, addProfessionInfo OCTET STRING OPTIONAL }
func parseInfo(infos *cryptobyte.String) ([]profession, error) {
	var info, items, oids, number cryptobyte.String
	var hasOIDs, hasNumber bool
	if !infos.ReadASN1(&info, casn1.SEQUENCE) ||
		!info.SkipOptionalASN1(tag0) ||
		!info.ReadASN1(&items, casn1.SEQUENCE) ||
		!info.ReadOptionalASN1(&oids, &hasOIDs, casn1.SEQUENCE) ||
		!info.ReadOptionalASN1(&number, &hasNumber, casn1.PrintableString) {
		return nil, errAdmission
	}
	var all []profession
	for !oids.Empty() {
		var oid asn1.ObjectIdentifier
		if !oids.ReadASN1ObjectIdentifier(&oid) {
			return nil, errAdmission
		}
		all = append(all, profession{oid.String(), string(number)})
	}
	return all, nil
}
