package pivcard

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

const testPIN = "123456"

func newCard(t testing.TB, options ...Option) *Card {
	t.Helper()
	c, err := New(testPIN, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	selectPIV = "00A40400 09 A00000030800001000 00"
	rightPIN  = "00200080 08 313233343536FFFF"
	wrongPIN  = "00200080 08 313131313131FFFF"
	askTries  = "00200080"
	sign9A    = "0087119A 26 7C24 8200 8120 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F 00"
	sign9C    = "0087119C 26 7C24 8200 8120 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F 00"
	sign9E    = "0087119E 26 7C24 8200 8120 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F 00"
)

// Each case is a talk with a fresh card: commands and the end of each answer.
func TestTalk(t *testing.T) {
	for name, talk := range map[string][]string{
		"nothing before SELECT":        {rightPIN, "6D00", sign9E, "6D00"},
		"other application":            {"00A40400 05 A000000151 00", "6A82", "00A40400 04 A0000003 00", "6A82"},
		"SELECT by file id":            {"00A40000 02 3F00", "6A86"},
		"class and instruction":        {selectPIV, "9000", "80200080", "6E00", "00FD0000", "6D00"},
		"wrong lengths":                {"00", "6700", "00A404", "6700", "00A40400 05 A000", "6700", "00A40400 0000", "6700"},
		"PIN counts down and blocks":   {selectPIV, "9000", askTries, "63C3", wrongPIN, "63C2", wrongPIN, "63C1", wrongPIN, "63C0", rightPIN, "6983", askTries, "6983"},
		"right PIN restores the tries": {selectPIV, "9000", wrongPIN, "63C2", rightPIN, "9000", askTries, "9000", "0020FF80", "9000", askTries, "63C3"},
		"malformed PIN costs nothing":  {selectPIV, "9000", "00200080 08 3132333435FFFFFF", "6A80", "00200080 06 313233343536", "6A80", askTries, "63C3"},
		"wrong reference":              {selectPIV, "9000", "00200081 08 313233343536FFFF", "6A88", "00200180", "6A86"},
		"wrong PIN ends the session":   {selectPIV, "9000", rightPIN, "9000", wrongPIN, "63C2", sign9A, "6982"},
		"9A wants the PIN once":        {selectPIV, "9000", sign9A, "6982", rightPIN, "9000", sign9A, "9000", sign9A, "9000"},
		"9C wants it each time":        {selectPIV, "9000", rightPIN, "9000", sign9C, "9000", sign9C, "6982", rightPIN, "9000", askTries, "9000", sign9C, "6982"},
		"9E wants none":                {selectPIV, "9000", sign9E, "9000"},
		"wrong algorithm or slot":      {selectPIV, "9000", strings.Replace(sign9E, "8711", "8714", 1), "6A86", strings.Replace(sign9E, "119E", "1182", 1), "6A86"},
		"wrong template":               {selectPIV, "9000", "0087119E 04 7C028200 00", "6A80", "0087119E 05 7C03810100 00", "6A80", "0087119E 02 7D00 00", "6A80", "0087119E 07 7C058200810100 00", "6A80"},
		"SELECT keeps the PIN":         {selectPIV, "9000", rightPIN, "9000", selectPIV, "9000", sign9A, "9000"},
		"chained PIN":                  {selectPIV, "9000", "10200080 04 31323334", "9000", "00200080 04 3536FFFF", "9000"},
		"chain broken":                 {selectPIV, "9000", "10200080 04 31323334", "9000", sign9E, "6883", rightPIN, "9000"},
		"discovery":                    {selectPIV, "9000", "00CB3FFF 03 5C017E 00", "4F0BA0000003080000100001005F2F0240009000"},
		"no such object":               {selectPIV, "9000", "00CB3FFF 05 5C035FC103 00", "6A82", "00CB3FFF 03 5C02 7E 00", "6A80", "00CB0000 03 5C017E 00", "6A86"},
		"change the PIN":               {selectPIV, "9000", "00240080 10 313233343536FFFF 3637383930FFFFFF", "6A80", "00240080 10 313233343536FFFF 363738393031FFFF", "9000", rightPIN, "63C2", "00200080 08 363738393031FFFF", "9000"},
		"unblock":                      {selectPIV, "9000", wrongPIN, "63C2", "002C0080 10 3132333435363737 313131313131FFFF", "63C2", "002C0080 10 3132333435363738 313131313131FFFF", "9000", wrongPIN, "9000"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t)
			for i := 0; i < len(talk); i += 2 {
				got := c.Transmit(unhex(t, talk[i]))
				if !bytes.HasSuffix(got, unhex(t, talk[i+1])) {
					t.Fatalf("command %d, %s: got %X, want ...%s", i/2, talk[i], got, talk[i+1])
				}
			}
		})
	}
}

func TestResetForgetsThePIN(t *testing.T) {
	c := newCard(t)
	for _, cmd := range []string{selectPIV, rightPIN} {
		c.Transmit(unhex(t, cmd))
	}
	c.Reset()
	c.Transmit(unhex(t, selectPIV))
	if got := c.Transmit(unhex(t, sign9A)); !bytes.Equal(got, []byte{0x69, 0x82}) {
		t.Fatalf("signed after reset: %X", got)
	}
}

func TestSignatureVerifies(t *testing.T) {
	c := newCard(t)
	c.Transmit(unhex(t, selectPIV))
	resp := c.Transmit(unhex(t, sign9E))
	_, inner, _, _ := field(resp[:len(resp)-2])
	_, sig, _, ok := field(inner)
	digest := unhex(t, sign9E)[11:43]
	if !ok || !ecdsa.VerifyASN1(c.Public(0x9E).(*ecdsa.PublicKey), digest, sig) {
		t.Fatalf("signature %X does not verify over %X", sig, digest)
	}
}

// Answers longer than 256 bytes come in pieces, and whole with extended length.
func TestLongAnswers(t *testing.T) {
	c := newCard(t)
	der := bytes.Repeat([]byte("certificate!"), 60)
	if err := c.PutCertificate(0x9A, der); err != nil {
		t.Fatal(err)
	}
	c.Transmit(unhex(t, selectPIV))
	resp := c.Transmit(unhex(t, "00CB3FFF 05 5C035FC105 00"))
	var whole []byte
	for rounds := 0; ; rounds++ {
		n := len(resp)
		whole = append(whole, resp[:n-2]...)
		if resp[n-2] != 0x61 || rounds > 8 {
			break
		}
		resp = c.Transmit([]byte{0, 0xC0, 0, 0, resp[n-1]})
	}
	extended := c.Transmit(unhex(t, "00CB3FFF 000005 5C035FC105 0000"))
	if !bytes.Equal(append(whole, 0x90, 0), extended) || !bytes.Contains(whole, der) {
		t.Fatalf("pieces %d bytes, extended %d, want the same with the certificate in them", len(whole), len(extended))
	}
}

// Two parties agree on a key through slot 9D.
func TestKeyAgreement(t *testing.T) {
	c := newCard(t)
	c.Transmit(unhex(t, selectPIV))
	c.Transmit(unhex(t, rightPIN))
	peer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	peerDH, err := peer.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	cardDH, err := c.Public(0x9D).(*ecdsa.PublicKey).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	want, err := peerDH.ECDH(cardDH)
	if err != nil {
		t.Fatal(err)
	}
	body := tlv(0x7C, append(tlv(0x82, nil), tlv(0x85, peerDH.PublicKey().Bytes())...))
	resp := c.Transmit(append(append([]byte{0, 0x87, 0x11, 0x9D, byte(len(body))}, body...), 0))
	if !bytes.Equal(resp, append(tlv(0x7C, tlv(0x82, want)), 0x90, 0)) {
		t.Fatalf("got %X, want secret %X", resp, want)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New("12"); err == nil {
		t.Error("a card with a two-digit PIN was made")
	}
	if _, err := New(testPIN, WithKey(0x9A, 0x55)); err == nil {
		t.Error("a key of an unknown algorithm was made")
	}
	if got := newCard(t, WithTries(1)).Tries(); got != 1 {
		t.Errorf("tries %d, want 1", got)
	}
	a, b := newCard(t), newCard(t)
	if a.Public(0x9A).(*ecdsa.PublicKey).Equal(b.Public(0x9A)) || a.GUID() == b.GUID() {
		t.Error("two cards are the same")
	}
	if err := a.PutCertificate(0x82, nil); err == nil {
		t.Error("a certificate for slot 82 was stored")
	}
}

// Whatever comes, the card answers with at least a status word and only VERIFY
// and its kin change the tries.
func FuzzTransmit(f *testing.F) {
	for _, s := range []string{selectPIV, rightPIN, wrongPIN, sign9A, sign9E, "00CB3FFF 000005 5C035FC102 0000", "10200080 04 31323334", "00C0000000"} {
		f.Add(unhex(f, s))
	}
	c := newCard(f)
	f.Fuzz(func(t *testing.T, apdu []byte) {
		c.Transmit(unhex(t, selectPIV))
		before := c.Tries()
		if resp := c.Transmit(apdu); len(resp) < 2 {
			t.Fatalf("answered %X", resp)
		}
		if len(apdu) > 1 && apdu[1] != 0x20 && apdu[1] != 0x24 && apdu[1] != 0x2C && c.Tries() != before {
			t.Fatalf("tries went from %d to %d", before, c.Tries())
		}
	})
}

// A slow card says the same, later.
func TestPace(t *testing.T) {
	c := newCard(t, WithPace(Pace{Command: 20 * time.Millisecond, PIN: 30 * time.Millisecond}))
	start := time.Now()
	c.Transmit([]byte{0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8, 0})
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("SELECT took %v, want 20 ms", took)
	}
	start = time.Now()
	got := c.Transmit([]byte{0, 0x20, 0, 0x80, 8, '1', '2', '3', '4', '5', '6', 0xFF, 0xFF})
	if took := time.Since(start); took < 50*time.Millisecond || !bytes.Equal(got, []byte{0x90, 0}) {
		t.Errorf("VERIFY took %v and said %x, want 50 ms and 9000", took, got)
	}
}
