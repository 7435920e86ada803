package piv

import (
	"errors"
	"testing"
	"time"

	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// Cards of other makes: the same questions get a usable answer from each, whatever
// its key, and no question spends a try.
func TestCardsOfOtherMakes(t *testing.T) {
	for name, c := range map[string]struct {
		odd         pivcard.Oddities
		tries, left int // what the card says before and after one wrong PIN
	}{
		"ours":                   {tries: 3, left: 2},
		"T=0":                    {odd: pivcard.Oddities{T0: true}, tries: 3, left: 2},
		"no template":            {odd: pivcard.Oddities{BareSelect: true}, tries: 3, left: 2},
		"T=0, no template":       {odd: pivcard.Oddities{T0: true, BareSelect: true}, tries: 3, left: 2},
		"does not forget":        {odd: pivcard.Oddities{NoForget: true}, tries: 3, left: 2},
		"6A80 of a wrong PIN":    {odd: pivcard.Oddities{Wrong: 0x6A80}, tries: 3, left: 2},
		"6983 of a wrong PIN":    {odd: pivcard.Oddities{Wrong: 0x6983}, tries: 3, left: 2},
		"6300 of a wrong PIN":    {odd: pivcard.Oddities{Wrong: 0x6300}, tries: 3, left: 2},
		"6300 always":            {odd: pivcard.Oddities{Wrong: 0x6300, Count: 0x6300}, tries: pin.Unknown, left: pin.Unknown},
		"6A80 always":            {odd: pivcard.Oddities{Wrong: 0x6A80, Count: 0x6A80}, tries: pin.Unknown, left: pin.Unknown},
		"6700 for the question":  {odd: pivcard.Oddities{Count: 0x6700}, tries: pin.Unknown, left: 2},
		"6A86 for the question":  {odd: pivcard.Oddities{Count: 0x6A86}, tries: pin.Unknown, left: 2},
		"9 bytes of identifier":  {odd: pivcard.Oddities{ShortAID: true}, tries: 3, left: 2},
		"6984 once blocked":      {odd: pivcard.Oddities{Gone: true}, tries: 3, left: 2},
		"global PIN":             {odd: pivcard.Oddities{GlobalPIN: true}, tries: 3, left: 2},
		"T=0 to the letter":      {odd: pivcard.Oddities{T0: true, T0Strict: true}, tries: 3, left: 2},
		"6A88 for what is empty": {odd: pivcard.Oddities{Missing: 0x6A88}, tries: 3, left: 2},
		"9000 for what is empty": {odd: pivcard.Oddities{Missing: 0x9000}, tries: 3, left: 2},
	} {
		t.Run(name, func(t *testing.T) {
			raw, card := selected(t, pivcard.WithOddities(c.odd))
			raw.Without(0x7E) // no discovery object
			if n, err := card.Tries(); err != nil || n != c.tries {
				t.Errorf("tries %d, %v, want %d", n, err, c.tries)
			}
			var wrong *pin.Wrong
			if err := card.Verify([]byte("000000")); !errors.As(err, &wrong) || wrong.Left != c.left {
				t.Errorf("wrong PIN: %v, want %d left", err, c.left)
			}
			if raw.Tries() != 2 {
				t.Errorf("the card has %d tries left, want 2: the questions spent some", raw.Tries())
			}
			if _, err := card.Certificate(proof.Presence); !errors.Is(err, ErrNoCertificate) {
				t.Errorf("empty slot: %v, want ErrNoCertificate", err)
			}
			if err := card.Verify([]byte("123456")); err != nil {
				t.Fatal(err)
			}
			if err := prove(card, proof.Authentication, raw.Public(0x9A), []byte("m")); err != nil {
				t.Error(err)
			}
			for range 3 {
				_ = card.Verify([]byte("000000"))
			}
			err := card.Verify([]byte("123456"))
			if !errors.Is(err, pin.ErrBlocked) {
				t.Errorf("right PIN on a blocked card: %v, want blocked", err)
			}
		})
	}
}

// Each kind of key works on a T=0 card too, where its long answers come in pieces, and
// on one that knows no chaining; certificates may be packed without a word.
func TestKeysOfOtherMakes(t *testing.T) {
	for name, odd := range map[string]pivcard.Oddities{
		"T=0": {T0: true}, "T=0 to the letter": {T0: true, T0Strict: true}, "no chaining": {NoChain: true}, "packed": {PackedMute: true},
	} {
		t.Run(name, func(t *testing.T) { keysOf(t, odd) })
	}
}

func keysOf(t *testing.T, odd pivcard.Oddities) {
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, alg := range map[string]pivcard.Algorithm{"P-256": pivcard.P256, "P-384": pivcard.P384, "RSA-2048": pivcard.RSA2048} {
		t.Run(name, func(t *testing.T) {
			raw, c := selected(t, pivcard.WithKey(0x9A, alg), pivcard.WithOddities(odd))
			der, err := w.Professionals.CardCertificate(pki.Person{Name: "A", Registration: "1"}, 0x9A, raw.Public(0x9A))
			if err == nil {
				err = raw.PutCertificate(0x9A, der)
			}
			if err != nil {
				t.Fatal(err)
			}
			cert, err := c.Certificate(proof.Authentication)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Verify([]byte("123456")); err != nil {
				t.Fatal(err)
			}
			if err := prove(c, proof.Authentication, cert.PublicKey, []byte("m")); err != nil {
				t.Error(err)
			}
		})
	}
}

// A card whose counter stands at one, or which never had more.
func TestOneTry(t *testing.T) {
	raw, c := selected(t, pivcard.WithTries(1))
	if n, err := c.Tries(); n != 1 || err != nil {
		t.Fatalf("tries %d, %v", n, err)
	}
	if err := c.Verify([]byte("000000")); !errors.Is(err, pin.ErrBlocked) {
		t.Errorf("the last wrong PIN: %v, want blocked", err)
	}
	if raw.Tries() != 0 {
		t.Errorf("%d tries left", raw.Tries())
	}
}
