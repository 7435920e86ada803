package main

import (
	"net/http"
	"testing"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/firmware/lab/p15card"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// A doctor whose card is no PIV card logs in with it like everybody else: a wrong
// PIN costs a try, the session lives by proofs, and ends with the card.
func TestPKCS15Login(t *testing.T) {
	d := newDesk(t)
	card, err := p15card.New(rightPIN)
	if err != nil {
		t.Fatal(err)
	}
	der, err := d.world.Professionals.CardCertificate(pki.Person{Name: "Ana Ruiz", Registration: "282864711", Profession: pki.Doctor}, pki.SlotAuthentication, card.Public())
	if err != nil {
		t.Fatal(err)
	}
	card.PutCertificate(der)
	d.insert(pivcard.With(card))
	tries := card.Tries()
	d.refused(d.login("111111"), http.StatusUnauthorized, string(session.WrongPIN))
	if card.Tries() != tries-1 {
		t.Errorf("%d tries left, want %d", card.Tries(), tries-1)
	}
	time.Sleep(1100 * time.Millisecond) // the pause after a wrong PIN
	a := d.mustLogin()
	if a.Session.Subject != "Practitioner/282864711" || a.Session.Role != "doctor" {
		t.Errorf("got %+v", a.Session)
	}
	time.Sleep(time.Second)
	if got := d.call(d.ws, "/v1/renew", a.Token, ""); got.Status != http.StatusOK {
		t.Errorf("a second later: %+v", got)
	}
	d.remove()
	d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
}
