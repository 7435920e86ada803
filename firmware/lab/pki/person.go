package pki

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Profession OIDs of the test world, in a private arc; a health authority has
// its own (in Germany 1.2.276.0.76.4.30 is a physician).
const (
	Doctor = "1.3.6.1.4.1.99999.2.1"
	Nurse  = "1.3.6.1.4.1.99999.2.2"
)

// A Person is the holder of a card.
type Person struct {
	Name         string
	Registration string   // number in the register of professionals: subject serialNumber
	Profession   string   // OID in the Admission extension; empty leaves the extension out
	GUID         [16]byte // of the card, as in its CHUID: SAN urn:uuid
	Policy       string   // of the certificate; empty: PolicyProfessional
}

// PIV key slots (SP 800-73-5 part 1, table 4b).
const (
	SlotAuthentication = 0x9A
	SlotSignature      = 0x9C
	SlotKeyManagement  = 0x9D
	SlotCardAuth       = 0x9E
)

var (
	oidAdmission    = asn1.ObjectIdentifier{1, 3, 36, 8, 3, 3}
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidPIVCardAuth  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 6, 8}
)

// CardCertificate issues the certificate for one slot of a person's card.
func (ca *CA) CardCertificate(p Person, slot byte, pub crypto.PublicKey) ([]byte, error) {
	t, err := CardTemplate(p, slot)
	if err != nil {
		return nil, err
	}
	return ca.Sign(t, pub)
}

// CardTemplate describes a good certificate for one slot, for tests that spoil
// it before they have it signed.
func CardTemplate(p Person, slot byte) (*x509.Certificate, error) {
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", p.GUID[:4], p.GUID[4:6], p.GUID[6:8], p.GUID[8:10], p.GUID[10:])
	t := &x509.Certificate{
		Subject: pkix.Name{
			Country:    []string{"XX"},
			CommonName: p.Name,
			ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidSerialNumber, Value: p.Registration}},
		},
		URIs:                  []*url.URL{{Scheme: "urn", Opaque: "uuid:" + uuid}},
		Policies:              []x509.OID{mustOID(cmp.Or(p.Policy, PolicyProfessional))},
		BasicConstraintsValid: true,
	}
	switch slot {
	case SlotAuthentication:
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case SlotSignature:
		t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	case SlotKeyManagement:
		t.KeyUsage = x509.KeyUsageKeyAgreement
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	case SlotCardAuth:
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidPIVCardAuth}
	default:
		return nil, fmt.Errorf("card certificate: got slot %#x, want 9a, 9c, 9d or 9e", slot)
	}
	if p.Profession != "" {
		ext, err := admission(p.Profession, p.Registration)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, ext)
	}
	return t, nil
}

// admissionSyntax and the types in it are ISIS-MTT / Common PKI part 1, table
// 29b, with the parts we use: one Admissions with one ProfessionInfo.
type admissionSyntax struct {
	Contents []admissions
}

type admissions struct {
	ProfessionInfos []professionInfo
}

type professionInfo struct {
	Items        []string // DirectoryString
	OIDs         []asn1.ObjectIdentifier
	Registration string `asn1:"printable,optional"`
}

// admission makes the extension that says what its holder is.
func admission(profession, registration string) (pkix.Extension, error) {
	var id asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(profession, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			return pkix.Extension{}, fmt.Errorf("profession: got %q, want an object identifier", profession)
		}
		id = append(id, n)
	}
	der, err := asn1.Marshal(admissionSyntax{[]admissions{{[]professionInfo{{
		Items: []string{"test profession"}, OIDs: []asn1.ObjectIdentifier{id}, Registration: registration,
	}}}}})
	return pkix.Extension{Id: oidAdmission, Value: der}, err
}
