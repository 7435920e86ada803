package p15card_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/p15card"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// conf has OpenSC take cards whose answer to reset it doesn't know by what they say
// of themselves.
const conf = "app default {\n\tcard_drivers = default;\n\tenable_default_driver = true;\n}\n"

// OpenSC, which nobody here wrote, must find the application, its key, certificate
// and PIN, read the certificate, and show the PIN.
func TestOpenSC(t *testing.T) {
	lab.Require(t, append(pcscd.Needs(), lab.Program("pkcs15-tool"))...)
	card, err := p15card.New("123456")
	if err != nil {
		t.Fatal(err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.Professionals.CardCertificate(pki.Person{Name: "Ana Ruiz", Registration: "282864711", Profession: pki.Doctor}, pki.SlotAuthentication, card.Public())
	if err != nil {
		t.Fatal(err)
	}
	card.PutCertificate(der)
	file := filepath.Join(t.TempDir(), "opensc.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OPENSC_CONF", file)
	d, slot := pcscd.Start(t), pivcard.NewSlot()
	d.Plug(t, slot, 0)
	if err := slot.Insert(pivcard.With(card)); err != nil {
		t.Fatal(err)
	}
	var out string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		if out, err = d.Run("pkcs15-tool", "--dump"); err == nil || time.Now().After(end) {
			break
		}
	}
	for _, want := range []string{"PIN [PIN]", "Private EC Key [Key]", "X.509 Certificate [Certificate]", "nonRepudiation"} {
		if found := strings.Contains(out, want); found != (want != "nonRepudiation") {
			t.Errorf("pkcs15-tool --dump, %q found %v in:\n%s", want, found, out)
		}
	}
	if out, err := d.Run("pkcs15-tool", "--read-certificate", "45"); err != nil || !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Errorf("read the certificate: %v\n%s", err, out)
	}
	if out, err := d.Run("pkcs15-tool", "--verify-pin", "--auth-id", "01", "--pin", "123456"); err != nil {
		t.Errorf("verify the PIN: %v\n%s", err, out)
	}
	if _, err := d.Run("pkcs15-tool", "--verify-pin", "--auth-id", "01", "--pin", "111111"); err == nil || card.Tries() != 2 {
		t.Errorf("a wrong PIN: %v, %d tries left, want 2", err, card.Tries())
	}
}
