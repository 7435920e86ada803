package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/pki"
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// parse is what a card hands over, read.
func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func setup(t *testing.T) (*pki.World, *Anchors, Rules) {
	t.Helper()
	w, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAnchors(append(w.Professionals.PEM(), w.Root.PEM()...))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := x509.ParseOID(pki.PolicyProfessional)
	if err != nil {
		t.Fatal(err)
	}
	return w, a, Rules{policy, map[string]string{pki.Doctor: "doctor", pki.Nurse: "nurse"}}
}

var ruiz = pki.Person{Name: "Ana Ruiz", Registration: "282864711", Profession: pki.Doctor}

func key(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

func TestGoodCard(t *testing.T) {
	w, a, rules := setup(t)
	for profession, role := range map[string]string{pki.Doctor: "doctor", pki.Nurse: "nurse"} {
		p := ruiz
		p.Profession = profession
		der, err := w.Professionals.CardCertificate(p, pki.SlotAuthentication, key(t))
		if err != nil {
			t.Fatal(err)
		}
		h, err := a.Holder(parse(t, der), rules, now)
		if err != nil || h.Role != role || h.Registration != "282864711" || h.Key == [32]byte{} {
			t.Errorf("%s: got %+v, %v", role, h, err)
		}
	}
}

// Each case spoils a good certificate in one way.
func TestRefusals(t *testing.T) {
	w, a, rules := setup(t)
	for name, c := range map[string]struct {
		spoil func(*x509.Certificate)
		ca    *pki.CA
		want  error
	}{
		"foreign CA":         {func(*x509.Certificate) {}, w.Foreign, ErrIssuer},
		"devices CA":         {func(*x509.Certificate) {}, w.Devices, ErrIssuer},
		"expired":            {func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour) }, nil, ErrValidity},
		"tomorrow":           {func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(24*time.Hour), now.Add(48*time.Hour) }, nil, ErrValidity},
		"no policy":          {func(c *x509.Certificate) { c.Policies = nil }, nil, ErrPolicy},
		"other policy":       {func(c *x509.Certificate) { c.Policies = []x509.OID{oid(t, "1.3.6.1.4.1.99999.1.2")} }, nil, ErrPolicy},
		"root, no policy":    {func(c *x509.Certificate) { c.Policies = nil }, w.Root, ErrPolicy},
		"no EKU":             {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, nil, ErrUsage},
		"wrong EKU":          {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil, ErrUsage},
		"no signature usage": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, nil, ErrUsage},
		"CA as a leaf":       {func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }, w.Root, ErrUsage},
		"unknown critical": {func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		}, nil, ErrIssuer},
		"no admission":         {func(c *x509.Certificate) { c.ExtraExtensions = nil }, nil, ErrRole},
		"malformed admission":  {func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{0x30, 1, 2} }, nil, ErrRole},
		"unknown profession":   {func(c *x509.Certificate) { c.ExtraExtensions = admit(t, "1.3.6.1.4.1.99999.2.99", ruiz.Registration) }, nil, ErrRole},
		"two roles":            {func(c *x509.Certificate) { c.ExtraExtensions[0].Value = both(t, c.ExtraExtensions[0].Value) }, nil, ErrRole},
		"someone else's":       {func(c *x509.Certificate) { c.ExtraExtensions = admit(t, pki.Doctor, "999") }, nil, ErrIdentity},
		"no number":            {func(c *x509.Certificate) { c.Subject.ExtraNames = nil }, nil, ErrIdentity},
		"number with a slash":  {func(c *x509.Certificate) { c.Subject.ExtraNames[0].Value = "28/../1" }, nil, ErrIdentity},
		"number far too long":  {func(c *x509.Certificate) { c.Subject.ExtraNames[0].Value = strings.Repeat("1", 65) }, nil, ErrIdentity},
		"number with a letter": {func(c *x509.Certificate) { c.Subject.ExtraNames[0].Value = "28\x002" }, nil, ErrIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			template, err := pki.CardTemplate(ruiz, pki.SlotAuthentication)
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(template)
			ca := c.ca
			if ca == nil {
				ca = w.Professionals
			}
			der, err := ca.Sign(template, key(t))
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if h, err := a.Holder(cert, rules, now); !errors.Is(err, c.want) {
				t.Fatalf("got %+v, %v, want %v", h, err, c.want)
			}
		})
	}
}

func oid(t *testing.T, s string) x509.OID {
	t.Helper()
	o, err := x509.ParseOID(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func admit(t *testing.T, profession, number string) []pkix.Extension {
	t.Helper()
	p := ruiz
	p.Profession, p.Registration = profession, number
	template, err := pki.CardTemplate(p, pki.SlotAuthentication)
	if err != nil {
		t.Fatal(err)
	}
	return template.ExtraExtensions
}

// both adds a nurse's Admissions behind those of another admission extension:
// SEQUENCE { SEQUENCE { theirs, the nurse's } }.
func both(t *testing.T, der []byte) []byte {
	t.Helper()
	contents := asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true}
	for _, one := range [][]byte{der, admit(t, pki.Nurse, ruiz.Registration)[0].Value} {
		var syntax, inner asn1.RawValue
		if _, err := asn1.Unmarshal(one, &syntax); err != nil {
			t.Fatal(err)
		}
		if _, err := asn1.Unmarshal(syntax.Bytes, &inner); err != nil {
			t.Fatal(err)
		}
		contents.Bytes = append(contents.Bytes, inner.Bytes...)
	}
	out, err := asn1.Marshal(struct{ Contents asn1.RawValue }{contents})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A German physician's admission, as OpenSSL encodes it, with an authority name
// and naming authorities in the places where they may be.
// A verdict holds until the certificate or an authority runs out, whichever is first.
func TestSteady(t *testing.T) {
	w, a, rules := setup(t)
	cert, _ := leaf(t, w, a, rules)
	if got := a.Steady(cert, now); !got.Equal(cert.NotAfter) {
		t.Errorf("got %v, want the card's end %v", got, cert.NotAfter)
	}
	long := *cert
	long.NotAfter = now.Add(100 * 365 * day)
	got := a.Steady(&long, now)
	for _, c := range a.certs {
		if c.NotAfter.Before(got) {
			t.Errorf("got %v, and %s ends at %v", got, c.Subject.CommonName, c.NotAfter)
		}
	}
	if _, err := a.Holder(cert, rules, a.Steady(cert, now).Add(time.Second)); !errors.Is(err, ErrValidity) {
		t.Errorf("behind it: %v", err)
	}
}

// Only the card's own key for presence, of a professional, says a card is present.
func TestPresent(t *testing.T) {
	w, a, rules := setup(t)
	pub := key(t)
	for _, x := range []struct {
		name string
		ca   *pki.CA
		slot byte
		good bool
	}{
		{"card authentication", w.Professionals, 0x9E, true}, {"login", w.Professionals, 0x9A, false},
		{"signature", w.Professionals, 0x9C, false}, {"of patients", w.Patients, 0x9E, false},
	} {
		der, err := x.ca.CardCertificate(ruiz, x.slot, pub)
		if err != nil {
			t.Fatal(err)
		}
		h, err := a.Present(parse(t, der), rules, now)
		if (err == nil) != x.good || x.good && h.Registration != ruiz.Registration {
			t.Errorf("%s: %+v, %v", x.name, h, err)
		}
	}
}

func TestParseAdmission(t *testing.T) {
	for name, c := range map[string]struct{ der, want string }{
		"plain":     {"30 25 30 23 30 21 30 1f 30 1d 30 10 0c 0e c3 84 72 7a 74 69 6e 2f 41 72 7a 74 20 20 30 09 06 07 2a 82 14 00 4c 04 1e", "1.2.276.0.76.4.30"},
		"authority": {"30 13 82 01 41 30 0e 30 0c 30 0a 30 08 30 00 30 04 06 02 2a 03", "1.2.3"},
		"naming":    {"30 14 30 12 30 10 a1 00 30 0c 30 0a a0 00 30 00 30 04 06 02 2a 03", "1.2.3"},
	} {
		der, err := hex.DecodeString(strings.ReplaceAll(c.der, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseAdmission(der)
		if err != nil || len(got) != 1 || got[0].oid != c.want {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestAnchors(t *testing.T) {
	w, a, _ := setup(t)
	if got := a.Expired(now); len(got) != 0 {
		t.Errorf("expired: %v", got)
	}
	if got := a.Expired(now.AddDate(30, 0, 0)); len(got) != 2 {
		t.Errorf("in 30 years: %v, want both", got)
	}
	client, err := w.Client("workstation", "ws")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := client.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "no root": w.Professionals.PEM(), "a leaf": client.CertPEM(),
		"a key": secret, "not DER": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	} {
		if _, err := ParseAnchors(data); err == nil {
			t.Errorf("%s: was taken for anchors", name)
		}
	}
}

func FuzzAdmission(f *testing.F) {
	for _, ext := range admitF(f) {
		f.Add(ext.Value)
	}
	f.Fuzz(func(_ *testing.T, der []byte) { _, _ = parseAdmission(der) })
}

func admitF(f *testing.F) []pkix.Extension {
	template, err := pki.CardTemplate(ruiz, pki.SlotAuthentication)
	if err != nil {
		f.Fatal(err)
	}
	return template.ExtraExtensions
}
