package piv

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// local is a card in the hand: no reader between.
type local struct{ *pivcard.Card }

func (l local) Transmit(cmd []byte) ([]byte, error) {
	if l.SpeaksT0() {
		cmd = apdu.ForT0(cmd)
	}
	return l.Card.Transmit(cmd), nil
}

func selected(t *testing.T, options ...pivcard.Option) (*pivcard.Card, *Card) {
	t.Helper()
	raw, err := pivcard.New("123456", options...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Select(local{raw})
	if err != nil {
		t.Fatal(err)
	}
	return raw, c
}

func TestVerifyAndTries(t *testing.T) {
	raw, c := selected(t)
	tries := func(want int) {
		t.Helper()
		if got, err := c.Tries(); err != nil || got != want {
			t.Fatalf("tries %d, %v, want %d", got, err, want)
		}
	}
	tries(3)
	for _, bad := range []string{"", "12345", "123456789", "12345a", "１２３４"} {
		if err := c.Verify([]byte(bad)); !errors.Is(err, pin.ErrForm) {
			t.Errorf("%q: got %v, want pin.ErrForm", bad, err)
		}
	}
	tries(3)
	var wrong *pin.Wrong
	if err := c.Verify([]byte("000000")); !errors.As(err, &wrong) || wrong.Left != 2 {
		t.Fatalf("got %v, want 2 tries left", err)
	}
	if err := c.Verify([]byte("123456")); err != nil {
		t.Fatal(err)
	}
	tries(3) // asked for after a right PIN, too
	pub := raw.Public(0x9A)
	var status *apdu.StatusError
	if err := prove(c, proof.Authentication, pub, []byte("x")); !errors.As(err, &status) || status.Status != apdu.NotSatisfied {
		t.Fatalf("asking for the tries left the PIN shown: %v", err)
	}
	for range 2 {
		_ = c.Verify([]byte("000000"))
	}
	if err := c.Verify([]byte("000000")); !errors.Is(err, pin.ErrBlocked) {
		t.Fatalf("third wrong PIN: %v, want pin.ErrBlocked", err)
	}
	if err := c.Verify([]byte("123456")); !errors.Is(err, pin.ErrBlocked) {
		t.Fatalf("right PIN on a blocked card: %v", err)
	}
	tries(0)
}

func TestProve(t *testing.T) {
	for name, alg := range map[string]pivcard.Algorithm{"P-256": pivcard.P256, "P-384": pivcard.P384, "RSA-2048": pivcard.RSA2048} {
		t.Run(name, func(t *testing.T) {
			raw, c := selected(t, pivcard.WithKey(0x9A, alg), pivcard.WithKey(0x9E, alg))
			other, err := pivcard.New("123456", pivcard.WithKey(0x9E, alg))
			if err != nil {
				t.Fatal(err)
			}
			if err := prove(c, proof.Presence, raw.Public(0x9E), []byte("nonce")); err != nil {
				t.Errorf("own key: %v", err)
			}
			if err := prove(c, proof.Presence, other.Public(0x9E), []byte("nonce")); !errors.Is(err, proof.ErrNotTheKey) {
				t.Errorf("another card's key: %v, want proof.ErrNotTheKey", err)
			}
			if err := c.Verify([]byte("123456")); err != nil {
				t.Fatal(err)
			}
			if err := prove(c, proof.Authentication, raw.Public(0x9A), []byte("nonce")); err != nil {
				t.Errorf("9A after the PIN: %v", err)
			}
		})
	}
}

// prove has the card sign and checks the signature, as a caller does.
func prove(c *Card, use proof.Use, pub crypto.PublicKey, message []byte) error {
	kind, err := proof.KindOf(pub)
	if err != nil {
		return err
	}
	sig, err := c.Sign(use, kind, message)
	if err != nil {
		return err
	}
	return proof.Check(pub, message, sig)
}

func TestCertificate(t *testing.T) {
	raw, c := selected(t)
	if _, err := c.Certificate(proof.Authentication); !errors.Is(err, ErrNoCertificate) {
		t.Fatalf("empty slot: %v, want ErrNoCertificate", err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.Professionals.CardCertificate(pki.Person{Name: "A", Registration: "1"}, 0x9A, raw.Public(0x9A))
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.PutCertificate(0x9A, der); err != nil {
		t.Fatal(err)
	}
	cert, err := c.Certificate(proof.Authentication)
	if err != nil || !bytes.Equal(cert.Raw, der) {
		t.Fatalf("got another certificate, %v", err)
	}

	packed := encode(0x53, append(encode(0x70, zip(t, der)), 0x71, 1, 1, 0xFE, 0))
	raw.PutObject(0x5FC105, packed)
	if cert, err = c.Certificate(proof.Authentication); err != nil || !bytes.Equal(cert.Raw, der) {
		t.Fatalf("compressed: %v", err)
	}
	point, err := raw.Public(0x9A).(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	bent := bytes.Replace(der, point, append(bytes.Clone(point[:len(point)-1]), point[len(point)-1]^1), 1)
	for name, object := range map[string][]byte{
		"point off curve":    encode(0x53, encode(0x70, bent)),
		"longer than 64 KiB": {0x53, 0x83, 1, 0, 1, 0x70, 0},
		"nothing":            nil,
		"empty":              {0x53, 0},
		"length beyond":      {0x53, 0x84, 0xFF, 0xFF, 0xFF, 0xFF},
		"indefinite length":  {0x53, 0x80, 0x70, 0x00, 0, 0},
		"no certificate":     {0x53, 2, 0xFE, 0},
		"not DER":            {0x53, 4, 0x70, 2, 1, 2},
		"not gzip":           {0x53, 7, 0x70, 2, 1, 2, 0x71, 1, 1},
		"gzip bomb":          encode(0x53, append(encode(0x70, zip(t, make([]byte, 10<<20))), 0x71, 1, 1)),
	} {
		raw.PutObject(0x5FC105, object)
		if _, err := c.Certificate(proof.Authentication); err == nil {
			t.Errorf("%s: was taken for a certificate", name)
		}
	}
}

func zip(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// answers is a card that gives these answers in order.
type answers []string

func (a *answers) Transmit([]byte) ([]byte, error) {
	if len(*a) == 0 {
		return nil, errors.New("card out")
	}
	next := (*a)[0]
	*a = (*a)[1:]
	return hex.DecodeString(strings.ReplaceAll(next, " ", ""))
}

// Cards that are not ours: other status words for the same things.
func TestOddCards(t *testing.T) {
	if _, err := Select(&answers{"6A82", "6A82"}); !errors.Is(err, ErrNotPIV) {
		t.Errorf("not PIV: %v", err)
	}
	if _, err := Select(&answers{"6F00"}); err == nil || errors.Is(err, ErrNotPIV) {
		t.Errorf("6F00: %v", err)
	}
	if _, err := Select(&answers{"9000"}); err != nil {
		t.Errorf("SELECT without a template: %v", err)
	}
	var wrong *pin.Wrong
	if err := (&Card{t: &answers{"6A80", "6A86", "63C1"}}).Verify([]byte("123456")); !errors.As(err, &wrong) || wrong.Left != 1 {
		t.Errorf("6A80 for a wrong PIN: %v", err)
	}
	if err := (&Card{t: &answers{"6A80", "9000", "6983"}}).Verify([]byte("123456")); !errors.Is(err, pin.ErrBlocked) {
		t.Errorf("6A80 for a wrong PIN that blocks: %v", err)
	}
	if err := (&Card{t: &answers{"63C0"}}).Verify([]byte("123456")); !errors.Is(err, pin.ErrBlocked) {
		t.Errorf("63C0: %v, want pin.ErrBlocked", err)
	}
	if n, err := (&Card{t: &answers{"6D00", "9000"}}).Tries(); n != pin.Unknown || err != nil {
		t.Errorf("a card that won't say: %d, %v", n, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"9000", "7C00 9000", "7C02 8200 9000", "7C04 8202 0102 9000", "7C84FFFFFFFF 9000"} {
		if err := prove(&Card{t: &answers{a}}, proof.Presence, key.Public(), nil); err == nil {
			t.Errorf("%s was taken for a signature", a)
		}
	}
}

func FuzzCard(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x53, 2, 0xFE, 0})
	f.Add([]byte{0x7C, 2, 0x82, 0})
	f.Add([]byte{0x5F, 0xC1, 5, 0x82, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseCertificate(data)
		if err := prove(&Card{t: fixed(data)}, proof.Presence, key.Public(), []byte("m")); err == nil {
			t.Fatal("nonsense proved a key")
		}
	})
}

// fixed answers everything with the same data and success.
type fixed []byte

func (f fixed) Transmit([]byte) ([]byte, error) { return append(bytes.Clone(f), 0x90, 0), nil }
