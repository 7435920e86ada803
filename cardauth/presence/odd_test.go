package presence

import (
	"testing"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// odd makes a doctor's card of another make, with certificates for 9A and 9E.
func (b *bench) odd(options ...pivcard.Option) *pivcard.Card {
	b.t.Helper()
	c, err := pivcard.New(rightPIN, options...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.certify(c, 0x9A, "1")
	b.certify(c, 0x9E, "1")
	c.Without(0x7E) // no discovery object
	return c
}

func (b *bench) certify(c *pivcard.Card, slot byte, number string) {
	b.t.Helper()
	w, err := pki.New(time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	der, err := w.Professionals.CardCertificate(pki.Person{Name: "X", Registration: number, Profession: pki.Doctor}, slot, c.Public(slot))
	if err == nil {
		err = c.PutCertificate(slot, der)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// A doctor with a card of any make logs in and stays for as long as the card does.
func TestSessionsOfOtherMakes(t *testing.T) {
	of := pivcard.WithOddities
	for name, options := range map[string][]pivcard.Option{
		"T=0":                 {of(pivcard.Oddities{T0: true})},
		"no template":         {of(pivcard.Oddities{BareSelect: true})},
		"does not forget":     {of(pivcard.Oddities{NoForget: true})},
		"PIN always":          {of(pivcard.Oddities{PINAlways: true})},
		"PIN always, T=0":     {of(pivcard.Oddities{PINAlways: true, T0: true})},
		"P-384, T=0":          {of(pivcard.Oddities{T0: true}), pivcard.WithKey(0x9A, pivcard.P384)},
		"RSA, T=0":            {of(pivcard.Oddities{T0: true}), pivcard.WithKey(0x9A, pivcard.RSA2048)},
		"RSA, PIN always":     {of(pivcard.Oddities{PINAlways: true}), pivcard.WithKey(0x9A, pivcard.RSA2048)},
		"P-384 for presence":  {of(pivcard.Oddities{PINAlways: true}), pivcard.WithKey(0x9E, pivcard.P384)},
		"RSA for presence":    {of(pivcard.Oddities{PINAlways: true}), pivcard.WithKey(0x9E, pivcard.RSA2048)},
		"6A80 of a wrong PIN": {of(pivcard.Oddities{Wrong: 0x6A80})},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				b.put("reader A 00", b.odd(options...), false)
				if _, refusal := b.login("a", "000000"); refusal == nil || refusal.Kind != session.WrongPIN || refusal.Tries != 2 {
					t.Fatalf("wrong PIN: %v", refusal)
				}
				time.Sleep(time.Minute)
				s := b.mustLogin("a")
				time.Sleep(10 * time.Second)
				if !b.lives(s) {
					t.Fatal("the session did not outlive its first proofs")
				}
				b.put("reader A 00", nil, false)
				if b.lives(s) {
					t.Error("the session outlived the card")
				}
			})
		})
	}
}

// A card that wants its PIN each time and has no key for presence, or somebody
// else's, keeps no session, and somebody is told why.
func TestPINAlwaysWithoutPresence(t *testing.T) {
	for name, spoil := range map[string]func(*bench, *pivcard.Card){
		"no key":          func(_ *bench, c *pivcard.Card) { c.WithoutKey(0x9E) },
		"somebody else's": func(b *bench, c *pivcard.Card) { b.certify(c, 0x9E, "2") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				c := b.odd(pivcard.WithOddities(pivcard.Oddities{PINAlways: true}))
				spoil(b, c)
				b.put("reader A 00", c, false)
				s := b.mustLogin("a")
				time.Sleep(minBeat + time.Millisecond)
				if b.lives(s) {
					t.Fatal("the session lives without a proof")
				}
				if got := b.faults(); len(got) != 1 || got[0] != faultCard {
					t.Errorf("faults %v", got)
				}
				b.put("reader A 00", nil, false)
				if got := b.faults(); len(got) != 0 {
					t.Errorf("faults %v of a card that left", got)
				}
			})
		})
	}
}

// A card that was reset in a living session has forgotten its PIN: its key for
// presence, which answers all the same, must not keep that session.
func TestAttackPresenceAfterReset(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.odd()
		b.put("reader A 00", c, false)
		s := b.mustLogin("a")
		time.Sleep(time.Second)
		c.Reset()
		c.Transmit([]byte{0, 0xA4, 4, 0, 11, 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0})
		time.Sleep(minBeat + time.Millisecond)
		if b.lives(s) {
			t.Error("the session lives on a card that forgot its PIN")
		}
	})
}

// A card that never says how many tries are left is used, each try as if it were
// the last.
func TestUncountedTries(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := b.odd(pivcard.WithOddities(pivcard.Oddities{Wrong: 0x6300, Count: 0x6300}))
		b.put("reader A 00", c, false)
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.LastTry || c.Tries() != 3 {
			t.Fatalf("got %v, %d tries left, want last-try", refusal, c.Tries())
		}
		b.put("reader A 00", nil, false)
		time.Sleep(time.Second)
		b.put("reader A 00", c, false)
		_, err := b.clinic.Login(t.Context(), session.Login{Room: "a", PIN: []byte(rightPIN), CertHash: "ws", LastTry: true})
		if err != nil {
			t.Fatal(err)
		}
	})
}
