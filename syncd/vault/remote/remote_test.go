package remote

import (
	"errors"
	"testing"

	"clinicgate/syncd/vault"
	"clinicgate/syncd/vault/deed"
)

// Only the third party's own words lock a box.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		code int
		text string
		no   string // type of the denial; empty: none
		ok   bool
	}{
		{"a deed", 200, `{"v":1,"sealed":"AAAA"}`, "", true},
		{"no", 403, `{"type":"no-access","detail":"T-1-a was taken off"}`, deed.RefusedAccess, false},
		{"another key", 403, `{"type":"other-key","detail":"x"}`, deed.RefusedKey, false},
		{"a bad question", 400, `{"type":"bad-request","detail":"x"}`, "", false},
		{"a proxy's page", 403, `<html>Forbidden</html>`, "", false},
		{"a proxy's JSON", 403, `{"error":"forbidden"}`, "", false},
		{"its own trouble", 500, `{"type":"fault","detail":"x"}`, "", false},
		{"cut short", 200, `{"v":1,"sea`, "", false},
		{"nothing", 502, ``, "", false},
	} {
		var a deed.Answer
		err := answer(c.code, []byte(c.text), &a)
		var no *vault.Denied
		denied := errors.As(err, &no)
		if (err == nil) != c.ok || denied != (c.no != "") || denied && no.Type != c.no {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"v":1,"box":"T-1-a","sealed":"AAAA"}`))
	f.Add(403, []byte(`{"type":"no-access","detail":"x"}`))
	f.Fuzz(func(t *testing.T, code int, text []byte) {
		var a deed.Answer
		if err := answer(code, text, &a); err == nil && code != 200 {
			t.Fatalf("%d is an answer", code)
		}
	})
}
