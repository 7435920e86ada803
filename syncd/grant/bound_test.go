package grant

import (
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

// A token stolen from a browser's program is of no use without what it is bound
// to, and of none for another session.
func TestAttackStolenBrowserToken(t *testing.T) {
	w := newWorld(t)
	roster, err := NewRoster(&wire.Card{
		Keys: wire.JWKS{Keys: []wire.JWK{jwk(t, "k1", &w.key.PublicKey)}},
		Sessions: []wire.Session{
			{ID: "s1", Role: wire.RoleDoctor, Subject: "Practitioner/1", Room: "r1", CertHash: "ws1", Keys: []string{"jkt:key", "addr:10.20.0.50"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(cnf map[string]any, r Request) error {
		h, c := good()
		c["cnf"] = cnf
		r.Token, r.Op, r.Type = sign(t, jwt.SigningMethodES256, w.key, h, c), Read, "Patient"
		_, err := Decide(now, roster, issuer, r)
		return err
	}
	for name, x := range map[string]struct {
		cnf  map[string]any
		from Request
		want Reason
	}{
		"key":                          {map[string]any{"jkt": "key"}, Request{Thumb: "key"}, ""},
		"address":                      {map[string]any{"addr": "10.20.0.50"}, Request{Addr: "10.20.0.50"}, ""},
		"key, without a proof":         {map[string]any{"jkt": "key"}, Request{}, OtherDevice},
		"key, another's proof":         {map[string]any{"jkt": "key"}, Request{Thumb: "other"}, OtherDevice},
		"key, with a certificate":      {map[string]any{"jkt": "key"}, Request{Peer: "ws1"}, OtherDevice},
		"another session's key":        {map[string]any{"jkt": "other"}, Request{Thumb: "other"}, OtherSession},
		"address, from another":        {map[string]any{"addr": "10.20.0.50"}, Request{Addr: "10.20.0.51"}, OtherDevice},
		"address, where none counts":   {map[string]any{"addr": "10.20.0.50"}, Request{Peer: "ws1"}, OtherDevice},
		"another session's address":    {map[string]any{"addr": "10.20.0.51"}, Request{Addr: "10.20.0.51"}, OtherSession},
		"nothing":                      {map[string]any{}, Request{Peer: "ws1", Thumb: "key", Addr: "10.20.0.50"}, OtherDevice},
		"two things, one of them here": {map[string]any{"jkt": "other", "addr": "10.20.0.50"}, Request{Addr: "10.20.0.50"}, OtherDevice},
		"an address as a key":          {map[string]any{"jkt": "10.20.0.50"}, Request{Thumb: "10.20.0.50"}, OtherSession},
	} {
		err := ask(x.cnf, x.from)
		var no *Refusal
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case x.want != "" && (!errors.As(err, &no) || no.Reason != x.want):
			t.Errorf("%s: got %v, want %s", name, err, x.want)
		}
	}
}
