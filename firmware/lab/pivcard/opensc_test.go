package pivcard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

const pin = "123456"

// personal makes a card with certificates in all four slots.
func personal(t *testing.T, options ...pivcard.Option) *pivcard.Card {
	t.Helper()
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	card, err := pivcard.New(pin, options...)
	if err != nil {
		t.Fatal(err)
	}
	p := pki.Person{Name: "Ana Ruiz", Registration: "282864711", Profession: pki.Doctor, GUID: card.GUID()}
	for _, slot := range []byte{0x9A, 0x9C, 0x9D, 0x9E} {
		der, err := w.Professionals.CardCertificate(p, slot, card.Public(slot))
		if err != nil {
			t.Fatal(err)
		}
		if err := card.PutCertificate(slot, der); err != nil {
			t.Fatal(err)
		}
	}
	return card
}

// OpenSC, which nobody here wrote, must take the card for a PIV card: find it,
// list its certificates, log in, and sign what openssl then verifies.
func TestOpenSC(t *testing.T) {
	lab.Require(t, append(pcscd.Needs(), lab.Program("pkcs11-tool", "piv-tool", "opensc-tool", "openssl"))...)
	d := pcscd.Start(t)
	slot := pivcard.NewSlot()
	d.Plug(t, slot, 0)
	for _, c := range []struct {
		name      string
		options   []pivcard.Option
		mechanism string
	}{
		{"P-256", nil, "ECDSA-SHA256"},
		{"P-384", []pivcard.Option{pivcard.WithKey(0x9A, pivcard.P384)}, "ECDSA-SHA384"},
		{"RSA-2048", []pivcard.Option{pivcard.WithKey(0x9A, pivcard.RSA2048)}, "SHA256-RSA-PKCS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			card := personal(t, c.options...)
			if err := slot.Insert(card); err != nil {
				t.Fatal(err)
			}
			defer func() {
				slot.Remove()
				waitReader(t, d, "Card not present")
			}()
			waitReader(t, d, "3b:")
			identify(t, d)
			signAndVerify(t, d, c.mechanism)
			if got := card.Tries(); got != 3 {
				t.Errorf("tries left %d, want 3", got)
			}
		})
	}
}

// waitReader waits until opensc-tool says want about the card's ATR.
func waitReader(t *testing.T, d *pcscd.Daemon, want string) {
	t.Helper()
	var out string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out, _ = d.Run("opensc-tool", "--atr", "--reader", "0"); strings.Contains(out, want) {
			return
		}
	}
	t.Fatalf("opensc-tool never said %q:\n%s", want, out)
}

func identify(t *testing.T, d *pcscd.Daemon) {
	t.Helper()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"opensc-tool", "--reader", "0", "--name"}, []string{"Personal Identity Verification"}},
		{[]string{"piv-tool", "--reader", "0", "--serial"}, []string{" "}},
		{[]string{"pkcs11-tool", "--list-slots"}, []string{"token initialized", "Ana Ruiz"}},
		{[]string{"pkcs11-tool", "--list-objects", "--type", "cert"}, []string{"Certificate for PIV Authentication", "Certificate for Digital Signature", "serialNumber=282864711"}},
	} {
		out, err := d.Run(c.args[0], c.args[1:]...)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: want %q in:\n%s", c.args, want, out)
			}
		}
	}
}

func signAndVerify(t *testing.T, d *pcscd.Daemon, mechanism string) {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("data"), []byte("the challenge of the hour"), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		out, err := d.Run(name, args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s: %s", name, strings.TrimSpace(out))
	}
	run("pkcs11-tool", "--read-object", "--type", "cert", "--id", "01", "-o", path("cert.der"))
	run("pkcs11-tool", "--login", "--pin", pin, "--id", "01", "--sign", "-m", mechanism,
		"--signature-format", "openssl", "-i", path("data"), "-o", path("sig"))
	run("openssl", "x509", "-inform", "der", "-in", path("cert.der"), "-pubkey", "-noout", "-out", path("pub.pem"))
	hash := "-sha256"
	if mechanism == "ECDSA-SHA384" {
		hash = "-sha384"
	}
	run("openssl", "dgst", hash, "-verify", path("pub.pem"), "-signature", path("sig"), path("data"))
}

// A wrong PIN through OpenSC costs one try, the third blocks the card, and the
// PUK brings it back.
func TestOpenSCWrongPIN(t *testing.T) {
	lab.Require(t, append(pcscd.Needs(), lab.Program("pkcs11-tool", "pkcs15-tool", "opensc-tool"))...)
	d := pcscd.Start(t)
	slot := pivcard.NewSlot()
	d.Plug(t, slot, 0)
	card := personal(t)
	if err := slot.Insert(card); err != nil {
		t.Fatal(err)
	}
	waitReader(t, d, "3b:")
	for _, left := range []int{2, 1, 0} {
		out, err := d.Run("pkcs11-tool", "--login", "--pin", "654321", "--list-objects")
		if err == nil || !strings.Contains(out, "CKR_PIN_") {
			t.Errorf("login with a wrong PIN: %v, want CKR_PIN_... in:\n%s", err, out)
		}
		if got := card.Tries(); got != left {
			t.Fatalf("tries left %d, want %d", got, left)
		}
	}
	out, err := d.Run("pkcs11-tool", "--login", "--pin", pin, "--list-objects")
	if err == nil || !strings.Contains(out, "CKR_PIN_LOCKED") {
		t.Errorf("login with the right PIN on a blocked card: %v\n%s", err, out)
	}
	if out, err := d.Run("pkcs15-tool", "--unblock-pin", "--puk", "12345678", "--new-pin", "111222"); err != nil {
		t.Errorf("unblock: %v\n%s", err, out)
	}
	if out, err := d.Run("pkcs11-tool", "--login", "--pin", "111222", "--list-objects"); err != nil {
		t.Errorf("login with the new PIN: %v\n%s", err, out)
	}
}
