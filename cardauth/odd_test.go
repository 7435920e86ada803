package main

import (
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
)

// Cards of other makes through pcscd: answers to reset nobody knows or of contactless
// cards, T=0, other keys, and a PIN that is wanted each time.
func TestCardsOfOtherMakes(t *testing.T) {
	d := newDesk(t)
	for name, c := range map[string]struct {
		atr string
		odd pivcard.Oddities
		alg pivcard.Algorithm
	}{
		"no historical bytes":  {"3b80800101", pivcard.Oddities{BareSelect: true}, pivcard.P256},
		"of a contactless":     {"3b8f8001804f0ca000000306030001000000006a", pivcard.Oddities{NoForget: true}, pivcard.P384},
		"T=0 alone":            {"3b0441545231", pivcard.Oddities{T0: true, T0Strict: true}, pivcard.RSA2048},
		"nothing as it should": {"3b8f8001804f0ca000000306030001000000006a", pivcard.Oddities{NoChain: true, ShortAID: true, GlobalPIN: true, Gone: true, PackedMute: true, BareSelect: true}, pivcard.RSA2048},
		"PIN always":           {"3b0441545231", pivcard.Oddities{T0: true, BareSelect: true, PINAlways: true, Wrong: 0x6A80}, pivcard.P256},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			atr, err := hex.DecodeString(c.atr)
			if err != nil {
				t.Fatal(err)
			}
			c.odd.ATR = atr
			card := d.card(d.world.Professionals, "1", pivcard.WithKey(0x9A, c.alg), pivcard.WithOddities(c.odd))
			card.Without(0x7E)
			der, err := d.world.Professionals.CardCertificate(pki.Person{Name: "Dr 1", Registration: "1", Profession: pki.Doctor}, 0x9E, card.Public(0x9E))
			if err == nil {
				err = card.PutCertificate(0x9E, der)
			}
			if err != nil {
				t.Fatal(err)
			}
			d.insert(card)
			if a := d.login("000000"); a.Status != http.StatusUnauthorized || a.Tries == nil || *a.Tries != 2 {
				t.Errorf("wrong PIN: %+v", a)
			}
			time.Sleep(1100 * time.Millisecond)
			// A machine that stands still for half a second ends a session, and rightly.
			for try := 1; ; try++ {
				a := d.mustLogin()
				time.Sleep(1500 * time.Millisecond)
				got := d.call(d.ws, "/v1/renew", a.Token, "")
				if got.Status == http.StatusOK {
					break
				}
				if try == 4 {
					t.Fatalf("renewal: %+v", got)
				}
			}
			d.remove()
			d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
		})
	}
	d.t = t
}
