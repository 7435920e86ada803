package pkcs15

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/p15card"
	"clinicgate/firmware/lab/pki"
)

// local is a card in the hand: no reader between.
type local struct{ *p15card.Card }

// Transmit never fails.
func (l local) Transmit(cmd []byte) ([]byte, error) { return l.Card.Transmit(cmd), nil }

func personal(t testing.TB) (*p15card.Card, []byte) {
	t.Helper()
	raw, err := p15card.New("123456")
	if err != nil {
		t.Fatal(err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.Professionals.CardCertificate(pki.Person{Name: "A", Registration: "1", Profession: pki.Doctor}, pki.SlotAuthentication, raw.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw.PutCertificate(der)
	return raw, der
}

func TestCard(t *testing.T) {
	raw, der := personal(t)
	c, err := Select(local{raw})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.Certificate(proof.Authentication)
	if err != nil || string(cert.Raw) != string(der) {
		t.Fatalf("certificate: %v", err)
	}
	if n, err := c.Tries(); n != 3 || err != nil {
		t.Errorf("tries %d, %v", n, err)
	}
	if _, err := c.Sign(proof.Authentication, proof.P256, []byte("m")); err == nil {
		t.Error("the key signed without the PIN")
	}
	var wrong *pin.Wrong
	if err := c.Verify([]byte("111111")); !errors.As(err, &wrong) || wrong.Left != 2 {
		t.Errorf("wrong PIN: %v", err)
	}
	if err := c.Verify([]byte("123456")); err != nil {
		t.Fatal(err)
	}
	sig, err := c.Sign(proof.Authentication, proof.P256, []byte("m"))
	if err != nil || proof.Check(cert.PublicKey, []byte("m"), sig) != nil {
		t.Errorf("signature: %v", err)
	}
	if err := c.Forget(); err != nil {
		t.Error(err)
	}
	if _, err := c.Sign(proof.Authentication, proof.P256, []byte("m")); err == nil {
		t.Error("the PIN was not forgotten")
	}
	for _, use := range []proof.Use{proof.Signature, proof.Presence} {
		if _, err := c.Certificate(use); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("%v: %v", use, err)
		}
	}
	for range 3 {
		err = c.Verify([]byte("111111"))
	}
	if !errors.Is(err, pin.ErrBlocked) || raw.Tries() != 0 {
		t.Errorf("the third wrong PIN: %v", err)
	}
}

func TestPINPad(t *testing.T) {
	raw, _ := personal(t)
	c, err := Select(local{raw})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.VerifyBy(func(cmd []byte) ([]byte, error) {
		copy(cmd[5:], "123456")
		return raw.Transmit(cmd), nil
	}); err != nil {
		t.Error(err)
	}
}

// Directories of a card that wants to be trouble: one clear error, bounded work.
func TestAttackMalformedDirectories(t *testing.T) {
	for name, spoil := range map[string]func(*p15card.Card){
		"no ODF":            func(c *p15card.Card) { c.PutFile(0x5031, nil) },
		"a path to nowhere": func(c *p15card.Card) { c.PutFile(0x5031, []byte{0xA0, 6, 0x30, 4, 4, 2, 1, 2}) },
		"an endless length": func(c *p15card.Card) { c.PutFile(0x4401, []byte{0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF}) },
		"an odd path":       func(c *p15card.Card) { c.PutFile(0x5031, []byte{0xA0, 7, 0x30, 5, 4, 3, 1, 2, 3}) },
		"nonsense":          func(c *p15card.Card) { c.PutFile(0x4402, []byte{0x30, 3, 1, 2, 3}) },
		"a huge directory":  func(c *p15card.Card) { c.PutFile(0x4401, make([]byte, 60000)) },
		"no certificate":    func(c *p15card.Card) { c.PutFile(0x4331, []byte{1}) },
		"a PIN of 200":      func(c *p15card.Card) { c.PutFile(0x4403, nil) },
	} {
		raw, _ := personal(t)
		spoil(raw)
		c, err := Select(local{raw})
		if err == nil {
			if _, err = c.Certificate(proof.Authentication); err == nil {
				err = c.Verify([]byte("123456"))
			}
		}
		if err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func FuzzDirectories(f *testing.F) {
	raw, _ := p15card.New("123456")
	for _, file := range [][]byte{{0x50, 0x31}, {0x44, 0x01}, {0x44, 0x02}, {0x44, 0x03}} {
		c := &Card{t: local{raw}}
		if data, err := c.file(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Card{}
		_, _ = parseODF(data)
		_ = c.readKeys(data)
		_ = c.readCertificates(data)
		_ = c.readPINs(data)
		if len(c.keys) > maxObjects || len(c.certs) > maxObjects {
			t.Fatal("more objects than there may be")
		}
		_, _ = c.its()
		var _ *x509.Certificate
	})
}
